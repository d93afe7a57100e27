"""Tests of the web front."""

import unittest
from unittest import mock

from app.main import app


class Web(unittest.TestCase):
    """The page and its themes."""

    def page(self, theme: str) -> str:
        with mock.patch.dict("os.environ", THEME=theme):
            return app.test_client().get("/page").text

    def test_themes(self):
        self.assertIn("#222", self.page("dark"))
        self.assertIn("#eee", self.page("light"))

    def test_unknown_theme(self):
        self.assertIn("#eee", self.page("plaid"))
