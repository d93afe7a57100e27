"""Tests of the accounts service."""

import unittest

from app.main import app


class Accounts(unittest.TestCase):
    """Over HTTP, without a socket."""

    def setUp(self):
        self.client = app.test_client()

    def test_known(self):
        self.assertEqual(self.client.get("/accounts/1").json, {"number": 1, "name": "Ada"})

    def test_unknown(self):
        self.assertEqual(self.client.get("/accounts/3").status_code, 404)

    def test_health(self):
        self.assertEqual(self.client.get("/healthz").json, {"status": "ok"})
