"""Who shops here: sample companies on three plans, their users, and the tokens they call with."""

from __future__ import annotations

import time
from typing import NamedTuple

import jwt

SIGNING_KEY = "demo-shop-signing-key-not-a-secret-0001"  # sample data: HS256 wants at least 32 bytes


class Customer(NamedTuple):
    user: str
    company: str
    plan: str  # free | pro | enterprise
    agent: str  # User-Agent of the client they use
    address: str  # documentation ranges of RFC 5737, sent as X-Forwarded-For
    token: str


def _customer(user: str, company: str, plan: str, agent: str, address: str, *, valid_s: int = 86400) -> Customer:
    claims = {"sub": user, "company_id": company, "plan": plan, "exp": int(time.time()) + valid_s}
    return Customer(user, company, plan, agent, address, jwt.encode(claims, SIGNING_KEY, algorithm="HS256"))


class Customers(NamedTuple):
    """The cast of one run; the names say what usually happens to them."""

    steady: Customer
    colleague: Customer
    small: Customer  # on the free plan, runs into its quota
    expired: Customer  # calls with a token that ran out yesterday
    declined: Customer  # the bank refuses the card
    unlucky: Customer  # uses a coupon that crashes the price calculation


def sample_customers() -> Customers:
    """Fresh tokens on every call, because they carry an expiry."""
    return Customers(
        steady=_customer("4712", "acme", "enterprise", "acme-erp/3.1", "192.0.2.10"),
        colleague=_customer("2042", "globex", "pro", "shop-python/1.8", "198.51.100.7"),
        small=_customer("3141", "initech", "free", "curl/8.10.1", "203.0.113.31"),
        expired=_customer("1999", "hooli", "pro", "shop-node/2.4", "203.0.113.99", valid_s=-86400),
        declined=_customer("5005", "umbrella", "pro", "shop-python/1.8", "198.51.100.55"),
        unlucky=_customer("4711", "acme", "enterprise", "acme-erp/3.1", "192.0.2.11"),
    )
