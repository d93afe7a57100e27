"""Accounts by their numbers."""

from flask import abort, jsonify

from common.service import create

ACCOUNTS = {1: "Ada", 2: "Grace"}

app = create("accounts")


@app.get("/accounts/<int:number>")
def account(number: int):
    """One account."""
    return jsonify(number=number, name=ACCOUNTS.get(number) or abort(404))
