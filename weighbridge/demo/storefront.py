"""The storefront API for customers: prices baskets, reserves stock, lets `payments` charge the card."""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
from aiohttp import ClientError, ClientSession, web
from opentelemetry import baggage, context, trace
from opentelemetry.semconv.attributes import db_attributes
from opentelemetry.trace import SpanKind

from weighbridge.demo.customers import SIGNING_KEY
from weighbridge.demo.instrument import call, server_spans
from weighbridge.demo.telemetry import Telemetry

STOCK = {
    "kettle": (49, 400),
    "grinder": (119, 200),
    "scale": (79, 300),
    "filter": (9, 5000),
}  # sku: price, pieces
PAYMENT_TIMEOUT_S = 0.3  # the storefront gives up on a charge after this

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(telemetry: Telemetry, payments_url: str, free_calls: int) -> web.Application:
    """The application; free_calls is how many calls a company on the free plan has in one run."""
    shop = Storefront(telemetry, payments_url, free_calls)
    app = web.Application(middlewares=[server_spans(telemetry), shop.authenticate])
    app.router.add_get("/healthz", shop.health)
    app.router.add_get("/v1/products", shop.products)
    app.router.add_get("/v1/products/{sku}", shop.product)
    app.router.add_post("/v1/orders", shop.place_order)
    app.router.add_get("/v1/orders/{order_id}", shop.order)
    app.on_cleanup.append(shop.close)
    return app


class Storefront:
    def __init__(self, telemetry: Telemetry, payments_url: str, free_calls: int) -> None:
        self._telemetry = telemetry
        self._payments_url = payments_url
        self._free_calls = free_calls
        self._calls: Counter[str] = Counter()
        self._orders: dict[str, dict[str, Any]] = {}
        self._session: ClientSession | None = None
        self._database = sqlite3.connect(":memory:")
        self._database.execute("CREATE TABLE stock (sku TEXT PRIMARY KEY, price INTEGER, pieces INTEGER)")
        self._database.executemany(
            "INSERT INTO stock VALUES (?, ?, ?)", [(sku, price, n) for sku, (price, n) in STOCK.items()]
        )

    async def close(self, _: web.Application) -> None:
        self._database.close()
        if self._session is not None:
            await self._session.close()

    @property
    def authenticate(self) -> Any:
        """Middleware: 401 without a valid token, 429 past the quota, else caller on span and baggage."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path == "/healthz":
                return await handler(request)
            claims, fault = _claims(request.headers.get("Authorization", ""))
            caller = (
                {"user.id": claims["sub"], "company.id": claims["company_id"], "plan": claims["plan"]} if claims else {}
            )
            trace.get_current_span().set_attributes(caller)
            if fault:
                self._telemetry.log.warning("token refused", extra={"fields": {"reason": fault, "path": request.path}})
                return web.json_response({"error": "token refused", "reason": fault}, status=401)
            refused, headers = self._over_quota(caller)
            if refused is not None:
                return refused
            carried = context.get_current()
            for key, value in caller.items():
                carried = baggage.set_baggage(key, value, carried)
            token = context.attach(carried)
            try:
                response = await handler(request)
                response.headers.update(headers)
                return response
            finally:
                context.detach(token)

        return middleware

    def _over_quota(self, caller: dict[str, str]) -> tuple[web.Response | None, dict[str, str]]:
        if caller["plan"] != "free":
            return None, {}
        self._calls[caller["company.id"]] += 1
        left = self._free_calls - self._calls[caller["company.id"]]
        headers = {"X-RateLimit-Limit": str(self._free_calls), "X-RateLimit-Remaining": str(max(left, 0))}
        if left >= 0:
            return None, headers
        self._telemetry.log.warning(
            "quota used up", extra={"fields": {"plan": "free", "quota": self._free_calls, "over_by": -left}}
        )
        answer = {"error": "the free plan's calls are used up", "upgrade": "/plans/pro"}
        return web.json_response(answer, status=429, headers={"Retry-After": "60", **headers}), headers

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def products(self, request: web.Request) -> web.Response:
        rows = self._query("SELECT", "SELECT sku, price, pieces FROM stock ORDER BY sku")
        return web.json_response([{"sku": sku, "price": price, "pieces": n} for sku, price, n in rows])

    async def product(self, request: web.Request) -> web.Response:
        sku = request.match_info["sku"]
        rows = self._query("SELECT", "SELECT sku, price, pieces FROM stock WHERE sku = ?", sku)
        if not rows:
            self._telemetry.log.info("no such product", extra={"fields": {"sku": sku}})
            return web.json_response({"error": "no such product", "sku": sku}, status=404)
        return web.json_response({"sku": rows[0][0], "price": rows[0][1], "pieces": rows[0][2]})

    async def order(self, request: web.Request) -> web.Response:
        order = self._orders.get(request.match_info["order_id"])
        if order is None:
            return web.json_response({"error": "no such order"}, status=404)
        return web.json_response(order)

    async def place_order(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        sku, quantity = str(wanted.get("sku")), wanted.get("quantity", 1)
        if sku not in STOCK or not isinstance(quantity, int) or quantity < 1:
            return web.json_response({"error": "sku and quantity are needed"}, status=422)
        log = self._telemetry.log
        amount = self._price(sku, quantity, wanted.get("coupon"))
        if not self._reserve(sku, quantity):
            log.warning("not enough in stock", extra={"fields": {"sku": sku, "quantity": quantity}})
            return web.json_response({"error": "not enough in stock"}, status=409)
        charge = {"amount": amount, "currency": "EUR", "card_number": wanted.get("card_number")}
        try:
            status, answer = await call(
                self._telemetry,
                self._http(),
                "POST",
                f"{self._payments_url}/v1/charges",
                json=charge,
                timeout_s=PAYMENT_TIMEOUT_S,
            )
        except TimeoutError:
            log.error("payments did not answer", extra={"fields": {"waited_s": PAYMENT_TIMEOUT_S, "amount": amount}})
            return web.json_response({"error": "payment timed out, nothing was ordered"}, status=504)
        except ClientError as error:
            log.error("payments is unreachable", extra={"fields": {"reason": type(error).__name__}})
            return web.json_response({"error": "payment is unavailable"}, status=502)
        if status == 402:
            log.warning("card declined", extra={"fields": {"amount": amount, "reason": answer.get("reason")}})
            return web.json_response({"error": "card declined", "reason": answer.get("reason")}, status=402)
        if status >= 400:
            log.error("payments failed", extra={"fields": {"status_of_payments": status}})
            return web.json_response({"error": "payment failed"}, status=502)
        order_id = uuid.uuid4().hex[:12]
        self._orders[order_id] = {"order_id": order_id, "sku": sku, "quantity": quantity, "amount": amount}
        log.info("order placed", extra={"fields": {"order_id": order_id, "sku": sku, "amount": amount}})
        return web.json_response(self._orders[order_id], status=201)

    def _price(self, sku: str, quantity: int, coupon: str | None) -> int:
        """Euros to pay. Coupons are percentages; the shop's bug is that somebody entered one as a word."""
        with self._telemetry.tracer.start_as_current_span(
            "price basket", attributes={"basket.sku": sku, "basket.quantity": quantity}
        ):
            coupons = {"WELCOME10": "10", "SPRING": "fifteen"}
            amount = STOCK[sku][0] * quantity
            if coupon is None:
                return amount
            self._telemetry.log.debug("applying coupon", extra={"fields": {"coupon": coupon}})
            return amount * (100 - int(coupons.get(coupon, "0"))) // 100

    def _reserve(self, sku: str, quantity: int) -> bool:
        with self._telemetry.tracer.start_as_current_span("reserve stock", attributes={"basket.sku": sku}):
            sql = "UPDATE stock SET pieces = pieces - ? WHERE sku = ? AND pieces >= ? RETURNING pieces"
            return bool(self._query("UPDATE", sql, quantity, sku, quantity))

    def _query(self, operation: str, sql: str, *values: object) -> list[Any]:
        """The rows, under a database span."""
        with self._telemetry.tracer.start_as_current_span(
            f"{operation} stock",
            kind=SpanKind.CLIENT,
            attributes={
                db_attributes.DB_SYSTEM_NAME: "sqlite",
                db_attributes.DB_OPERATION_NAME: operation,
                db_attributes.DB_COLLECTION_NAME: "stock",
                db_attributes.DB_QUERY_TEXT: sql,
            },
        ):
            return self._database.execute(sql, values).fetchall()

    def _http(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession()
        return self._session


def _claims(authorization: str) -> tuple[dict[str, str], str]:
    """The claims of a bearer token and what is wrong with it; an expired token of ours still says whose it was."""
    token = authorization.removeprefix("Bearer ")
    try:
        return jwt.decode(token, SIGNING_KEY, algorithms=["HS256"]), ""
    except jwt.ExpiredSignatureError as error:
        return jwt.decode(token, SIGNING_KEY, algorithms=["HS256"], options={"verify_exp": False}), str(error)
    except jwt.InvalidTokenError as error:
        return {}, str(error)
