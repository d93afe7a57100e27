"""A guest book: what visitors write lives as long as the process."""

import platform
from collections import deque

from flask import Flask, jsonify, redirect, render_template, request

app = Flask(__name__)
entries: deque[str] = deque(maxlen=20)


@app.get("/")
def book():
    """The page."""
    return render_template("book.html", entries=entries)


@app.post("/")
def sign():
    """Adds an entry."""
    text = request.form.get("text", "").strip()
    if text:
        entries.appendleft(text[:200])
    return redirect("/", code=303)


@app.get("/healthz")
def health():
    """For whoever watches: that the process answers, and what it runs on."""
    return jsonify(status="ok", python=platform.python_version())
