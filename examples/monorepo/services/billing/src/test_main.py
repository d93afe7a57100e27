"""Tests of the billing service."""

import unittest
from decimal import Decimal

from app.main import app, gross


class Billing(unittest.TestCase):
    """The sums, and the service that tells them."""

    def test_half_a_cent_goes_up(self):
        self.assertEqual(gross(Decimal("0.50"), Decimal("19")), Decimal("0.60"))

    def test_no_number(self):
        self.assertEqual(app.test_client().get("/gross/much").status_code, 400)

    def test_without_tax(self):
        self.assertEqual(app.test_client().get("/gross/2").json["gross"], "2.00")
