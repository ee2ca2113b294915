"""The payments API: charges cards at a bank that declines some, is slow with some and fails on some."""

from __future__ import annotations

import asyncio
import uuid

from aiohttp import web

from weighbridge.demo.instrument import server_spans
from weighbridge.demo.telemetry import Telemetry

# Sample cards, told apart by their last four digits as test cards are.
GOOD_CARD = "4242424242424242"
DECLINED_CARD = "4000000000000002"
SLOW_CARD = "4000000000009999"
BROKEN_CARD = "4000000000000500"

BANK_S = 0.008  # how long the bank takes
SLOW_BANK_S = 0.6  # longer than the storefront waits


def create_app(telemetry: Telemetry) -> web.Application:
    async def charge(request: web.Request) -> web.Response:
        wanted = await request.json()
        card, amount = str(wanted.get("card_number")), wanted.get("amount")
        last4 = card[-4:]
        with telemetry.tracer.start_as_current_span("authorise at bank", attributes={"bank.name": "demo-bank"}):
            telemetry.log.info("asking the bank", extra={"fields": {"amount": amount, "card_last4": last4}})
            await asyncio.sleep(SLOW_BANK_S if card == SLOW_CARD else BANK_S)
        if card == DECLINED_CARD:
            telemetry.log.warning("declined", extra={"fields": {"reason": "insufficient_funds", "card_last4": last4}})
            return web.json_response({"status": "declined", "reason": "insufficient_funds"}, status=402)
        if card == BROKEN_CARD:
            raise ConnectionResetError("the bank closed the connection")
        charge_id = f"ch_{uuid.uuid4().hex[:12]}"
        telemetry.log.info("charged", extra={"fields": {"charge_id": charge_id, "amount": amount}})
        return web.json_response({"status": "charged", "charge_id": charge_id}, status=201)

    app = web.Application(middlewares=[server_spans(telemetry)])
    app.router.add_post("/v1/charges", charge)
    return app
