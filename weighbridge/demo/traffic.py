"""A traffic script: the same mix of calls for the same seed, every kind of call at least once."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

from aiohttp import ClientSession

from weighbridge.demo.customers import Customer, Customers
from weighbridge.demo.payments import BROKEN_CARD, DECLINED_CARD, GOOD_CARD, SLOW_CARD


class Step(NamedTuple):
    customer: Customer | None  # None: a health check, nobody's call
    method: str
    path: str
    body: dict[str, Any] | None = None


class Outcome(NamedTuple):
    step: Step
    status: int
    trace_id: str  # 32 hex digits


def script(customers: Customers, requests: int, seed: int = 1) -> Iterator[Step]:
    """`requests` steps (at least one of each kind), in an order that depends on the seed alone."""
    who = customers
    kinds: list[tuple[int, Step]] = [  # how often, what
        (24, Step(who.steady, "GET", "/v1/products")),
        (18, Step(who.steady, "GET", "/v1/products/kettle")),
        (12, Step(who.steady, "POST", "/v1/orders", _order("kettle", GOOD_CARD))),
        (10, Step(who.colleague, "POST", "/v1/orders", _order("scale", GOOD_CARD, coupon="WELCOME10"))),
        (8, Step(who.colleague, "GET", "/v1/products/grinder")),
        (3, Step(who.colleague, "GET", "/v1/products/teapot")),  # 404
        (10, Step(who.small, "GET", "/v1/products")),  # 429 once the quota is used up
        (5, Step(who.expired, "GET", "/v1/products")),  # 401
        (4, Step(who.declined, "POST", "/v1/orders", _order("grinder", DECLINED_CARD))),  # 402
        (4, Step(who.unlucky, "POST", "/v1/orders", _order("filter", GOOD_CARD, coupon="SPRING"))),  # 500
        (2, Step(who.unlucky, "POST", "/v1/orders", {"quantity": 1})),  # 422
        (2, Step(who.steady, "POST", "/v1/orders", _order("filter", SLOW_CARD))),  # 504
        (1, Step(who.colleague, "POST", "/v1/orders", _order("filter", BROKEN_CARD))),  # 502
        (4, Step(None, "GET", "/healthz")),
    ]
    chance = random.Random(seed)
    steps = [step for _, step in kinds]
    rest = max(0, requests - len(steps))
    steps += chance.choices(steps, weights=[often for often, _ in kinds], k=rest)
    chance.shuffle(steps)
    return iter(steps)


async def perform(session: ClientSession, storefront_url: str, step: Step) -> Outcome:
    """One call as a customer's own program makes it: not instrumented, the trace starts in the storefront."""
    headers = {"X-Request-Id": str(uuid.uuid4())}
    if step.customer is not None:
        headers |= {
            "Authorization": f"Bearer {step.customer.token}",
            "User-Agent": step.customer.agent,
            "X-Forwarded-For": step.customer.address,
        }
    async with session.request(step.method, storefront_url + step.path, json=step.body, headers=headers) as response:
        await response.read()
        return Outcome(step, response.status, response.headers.get("X-Trace-Id", ""))


def _order(sku: str, card: str, coupon: str | None = None) -> dict[str, Any]:
    return {"sku": sku, "quantity": 1, "card_number": card} | ({"coupon": coupon} if coupon else {})
