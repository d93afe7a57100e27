"""The web front."""

import os

from common.service import create

THEMES = {"dark": "#222", "light": "#eee"}

app = create("web")


@app.get("/page")
def page():
    """The page in the colour of its theme."""
    colour = THEMES.get(os.environ.get("THEME", "light"), THEMES["light"])
    return f'<!doctype html><title>Web front</title><body style="background: {colour}">'
