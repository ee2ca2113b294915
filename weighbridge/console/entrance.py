"""The console's entrance: who asks is found before anything is answered.

Open to everybody who reaches the port: health and metrics, for probes, and what a page needs before anybody is known.
The commands' own questions (/ledger, /stores, /sampling, a replay) need no token from this machine itself, where
whoever asks could read the files as well. Everything else needs a session or a token.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from weighbridge.admin.door import same_machine
from weighbridge.console.access import SESSION_S, Access, Tries, Who
from weighbridge.console.access_log import AccessLog
from weighbridge.console.rendering import page

OPEN: Final = frozenset({"/healthz", "/readyz", "/metrics"})
COMMANDS: Final = frozenset({"/ledger", "/stores", "/sampling", "/deadletter/replay"})
_BEFORE: Final = frozenset({"/login", "/favicon.ico"})
_STATIC: Final = "/static/"
WHO: Final = web.RequestKey("who", Who)
_SECRETS_IN_QUERY: Final = "/login"


class Found(NamedTuple):
    """What the head of a request says about who sent it."""

    who: Who | None
    wrong: bool = False  # a token was shown that nobody has


class Entrance:
    """Middleware, and the handlers of signing in and out."""

    def __init__(self, access: Access, access_log: AccessLog) -> None:
        self._access = access
        self._tries = Tries()
        self._log = access_log

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in OPEN:
            return await handler(request)
        began = time.monotonic()
        who = self._who(request)
        try:
            if isinstance(who, web.StreamResponse):
                response, name = who, "nobody"
            else:
                name = who.name
                request[WHO] = who
                response = await _answer(request, handler)
        except web.HTTPException as error:
            self._note(request, name, error.status, began)
            raise
        self._note(request, name, response.status, began)
        return response

    def _note(self, request: web.Request, name: str, status: int, began: float) -> None:
        if request.path.startswith(_STATIC) or (request.path in COMMANDS and name == _HERE.name):
            return
        path = request.path if request.path == _SECRETS_IN_QUERY else request.path_qs
        self._log.note(name, request.remote or "", request.method, path, status, time.monotonic() - began)

    def _who(self, request: web.Request) -> Who | web.StreamResponse:
        """Who asks, or the answer to somebody who may not."""
        path = request.path
        if path in _BEFORE or path.startswith(_STATIC):
            return _NOBODY
        address = request.remote or ""
        shows_token = request.headers.get(hdrs.AUTHORIZATION, "").lower().startswith("bearer ")
        if shows_token and (wait_s := self._tries.wait_s(address)):
            response = web.json_response({"error": f"too many wrong tokens: try again in {wait_s} seconds"}, status=429)
            response.headers[hdrs.RETRY_AFTER] = str(wait_s)
            return response
        found = self._found(request)
        if found.wrong:
            self._tries.note(address)
        if found.who is not None:
            if path in COMMANDS:
                return _for_commands(request, found.who)
            return found.who
        if path in COMMANDS and same_machine(request):
            return _HERE
        return _unknown(request)

    def _found(self, request: web.Request) -> Found:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() == "bearer":
            who = self._access.of_token(token)
            return Found(who, wrong=who is None)
        return Found(self._access.of_session(request.cookies.get(_cookie_name(request), "")))

    # -- signing in and out --------------------------------------------------------------------------------

    async def login(self, request: web.Request) -> web.StreamResponse:
        """The form; or, with a token in the link or the form, a session."""
        where = _own_path(request.query.get("next", "/"))
        token = request.query.get("token")
        if request.method == "POST":
            fields = await request.post()
            token = str(fields.get("token", ""))
            where = _own_path(str(fields.get("next", "/")))
        if token is None:
            return page("login.html", {"next": where, "wrong": "", "who": None})
        address = request.remote or ""
        wait_s = self._tries.wait_s(address)
        who = self._access.of_token(token) if not wait_s else None
        if who is None:
            wrong = f"Too many wrong tokens: try again in {wait_s} seconds." if wait_s else "This token is not known."
            if not wait_s:
                self._tries.note(address)
            response = page("login.html", {"next": where, "wrong": wrong, "who": None}, 429 if wait_s else 403)
            if wait_s:
                response.headers[hdrs.RETRY_AFTER] = str(wait_s)
            return response
        self._tries.forget(address)
        # Not a redirect: a browser that came by a link on another site would not send the new cookie along with it.
        response = page("onward.html", {"where": where, "who": who})
        response.set_cookie(
            _cookie_name(request),
            self._access.session(token),
            max_age=SESSION_S,
            httponly=True,
            samesite="Strict",
            secure=request.secure,
            path="/",
        )
        return response

    async def logout(self, request: web.Request) -> web.StreamResponse:
        response = page("login.html", {"next": "/", "wrong": "", "who": None, "left": True})
        response.del_cookie(_cookie_name(request), path="/")
        return response


_NOBODY: Final = Who("nobody")
_HERE: Final = Who("command line", "operate")


def who_asks(request: web.Request) -> Who:
    return request[WHO]


def refuse_bound(who: Who, what: str) -> None:
    """Raises HTTPForbidden for those who are bound to a tenant or a company. what: that they may not see."""
    if who.scope.bound:
        raise web.HTTPForbidden(text=f"the token {who.name!r} is bound to its own events, and may not see {what}")


def refuse_readers(who: Who) -> None:
    """Raises HTTPForbidden for those who may only look."""
    if not who.may_operate:
        raise web.HTTPForbidden(text=f"the token {who.name!r} may look, and change nothing")


def _for_commands(request: web.Request, who: Who) -> Who | web.StreamResponse:
    if who.scope.bound or (request.method not in ("GET", "HEAD") and not who.may_operate):
        return web.json_response({"error": f"the token {who.name!r} may not do this"}, status=403)
    return who


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer; what goes wrong as a page for people, left to the door for programs."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if not _wants_page(request):
            raise
        facts = {"status": error.status, "said": error.text or error.reason, "who": request[WHO]}
        return page("message.html", facts, error.status)


def _wants_page(request: web.Request) -> bool:
    path = request.path
    return "text/html" in request.headers.get(hdrs.ACCEPT, "") and not path.endswith((".json", ".csv"))


def _unknown(request: web.Request) -> web.StreamResponse:
    if not _wants_page(request) or request.method not in ("GET", "HEAD"):
        response = web.json_response({"error": "sign in first: a token is needed, as in Authorization: Bearer TOKEN"})
        response.set_status(401)
        response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="weighbridge"'
        return response
    here = request.path_qs
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        # The cookie does not come with a link on another site: the same page asked by this one brings it.
        return page("onward.html", {"where": _own_path(here), "who": None})
    where = "" if here == "/" else f"?next={quote(here, safe='')}"
    return web.Response(status=303, headers={hdrs.LOCATION: f"/login{where}"})


def _own_path(text: str) -> str:
    """The path of this port in a text, "/" for everything else: nobody is sent elsewhere."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or not text.startswith("/") or text.startswith(("//", "/\\", "/login", "/logout")):
        return "/"
    return text if text.isprintable() and "\\" not in text else "/"


def _cookie_name(request: web.Request) -> str:
    """One for each port: cookies know hosts only, and two bridges on one machine are two consoles."""
    socket = request.transport.get_extra_info("sockname") if request.transport else None
    return f"weighbridge-{socket[1]}" if isinstance(socket, tuple) else "weighbridge"
