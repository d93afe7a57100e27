"""Invoices: what a sum comes to with tax."""

import os
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from flask import abort, jsonify

from common.service import create

TAX = Decimal(os.environ.get("TAX_PERCENT", "0"))

app = create("billing")


def gross(net: Decimal, percent: Decimal) -> Decimal:
    """The sum with tax, to the cent."""
    return (net * (100 + percent) / 100).quantize(Decimal("0.01"), ROUND_HALF_UP)


@app.get("/gross/<net>")
def invoice(net: str):
    """The sum with tax."""
    try:
        return jsonify(net=net, tax_percent=str(TAX), gross=str(gross(Decimal(net), TAX)))
    except InvalidOperation:
        abort(400)
