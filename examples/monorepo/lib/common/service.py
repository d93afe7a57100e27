"""What every service has: a name, a page that says so, and one that says that it answers."""

from flask import Flask, jsonify


def create(name: str) -> Flask:
    """A Flask application with `/` and `/healthz`."""
    app = Flask(name)

    @app.get("/")
    def index():
        return jsonify(service=name)

    @app.get("/healthz")
    def health():
        return jsonify(status="ok")

    return app
