"""Whose call it was (spec/mapping.md §5): user, company, session and the consumer behind them.

Enters: attributes, captured headers, the query string, and for logs the flattened body. Leaves: an Identity that names
where each id was found. Identity is read before masking, but what comes from a place that is masked is sealed: the
caller says how. Nothing here fails on any input. Inheritance between spans (spec/mapping.md §5.4) is the caller's: it
knows the trace.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from math import isfinite
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from mapping.bounds import LONGEST_ID
from mapping.rules import tokens
from mapping.rules.headers import REQUEST_MAPS, RESPONSE_MAPS, header_name
from mapping.rules.identity_settings import IdentitySettings
from mapping.rules.null_words import is_absent, is_nobody

SESSION_ATTRIBUTES = ("session.id", "mcp.session.id", "gen_ai.conversation.id")
CLIENT_ATTRIBUTES = ("client.id", "client_id", "oauth.client_id", "app.client.id")
APPLICATION_ATTRIBUTES = ("application.id", "app.id")
PLAN_ATTRIBUTES = ("plan", "plan.id", "app.plan", "user.plan")
SUBSCRIPTION_ATTRIBUTES = ("moesif.subscription_id", "subscription.id")
CONSUMER_HEADERS = ("x-consumer-custom-id", "x-consumer-username", "x-consumer-id")
CONSUMER_BODY_KEYS = ("consumer.custom_id", "consumer.username", "consumer.id")
RESOURCE_COMPANY = ("company.id", "organization.id", "tenant.id")
_CLIENT_CLAIMS = ("azp", "client_id")
_PLAN_CLAIMS = ("plan",)
_KEY_HEADER = "x-api-key"


class Identity(NamedTuple):
    """Who made a call; "" for what nobody said. Sources read `attr:user.id`, `header:x-user-id`, `authorization`."""

    user_id: str = ""
    company_id: str = ""
    session_token: str = ""
    subscription_id: str = ""
    application_id: str = ""
    client_id: str = ""
    plan_id: str = ""
    user_source: str = ""
    company_source: str = ""


_new: Final = tuple.__new__
NOBODY = Identity()
Seal = Callable[[str, str], str]  # (source, value found there) -> the value as it may be stored
_EMPTY: Mapping[str, object] = {}
_NO_HEADERS: Mapping[str, str] = {}


def unquote(text: str) -> str:
    """The text without the quotes that JSON puts around it: MLflow's attributes are JSON."""
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] == '"' else text


def identifier(value: object) -> str:
    """The id in a value: text, or a number as text; "" for null words, booleans, objects and arrays."""
    if isinstance(value, str):
        if len(value) > LONGEST_ID:
            return ""
        value = unquote(value.strip())
        return "" if is_nobody(value) else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    if isinstance(value, float):
        if not isfinite(value):
            return ""
        # JSON has one kind of number: 4711.0 is the id 4711 (Kong's tostring says the same).
        return str(int(value)) if value.is_integer() and abs(value) < _LONGEST_WHOLE else str(value)
    return str(value)


_LONGEST_WHOLE: Final = 1e22  # of a float that is written in digits; a double is exact so far for powers of ten
_LONGEST_REMEMBERED: Final = 128  # characters
_remembered: Final = lru_cache(maxsize=8192)(identifier)  # callers repeat


def unsealed(source: str, value: str) -> str:
    """The value itself: nothing is masked."""
    return value


def resource_company(resource: Mapping[str, object]) -> tuple[str, str]:
    """(company id, source) of resource attributes: the last place, after inheritance."""
    return _first(resource, RESOURCE_COMPANY, "resource:")


class Resolver:
    """Finds identities by one fixed set of rules.

    `attribute_keys`, `request_headers` and `response_headers` are all the names that can matter: a record that has none
    of them, and no query parameter asked for, has no identity. `for_keys` cuts the rules down to what a set of
    attribute keys can satisfy; a caller that sees the same keys again and again keeps the result.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        seal: Seal = unsealed,
        more: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        """more: attributes of the application, client or session, after those that count for everybody."""
        self._seal = seal
        user, company = settings.user, settings.company
        self._user_headers = user.headers
        self._user_attributes = user.attributes
        self._consumer_headers: tuple[str, ...] = CONSUMER_HEADERS
        self._authorization = user.authorization_headers
        self._user_claim = user.jwt_claim
        self._user_parameter = user.query_string
        self._strict = user.stop_at_first_header
        self._user_text_only = user.text_claims_only
        self._user_body_keys = (*user.attributes, *CONSUMER_BODY_KEYS)
        self._company_headers = company.headers
        self._company_attributes = company.attributes
        self._company_claim = company.jwt_claim
        self._company_parameter = company.query_string
        self._company_text_only = company.text_claims_only
        self._session: tuple[str, ...] = (*SESSION_ATTRIBUTES, *more.get("session", ()))
        self._client: tuple[str, ...] = (*CLIENT_ATTRIBUTES, *more.get("client", ()))
        self._application: tuple[str, ...] = (*APPLICATION_ATTRIBUTES, *more.get("application", ()))
        self._plan: tuple[str, ...] = PLAN_ATTRIBUTES
        self._subscription: tuple[str, ...] = SUBSCRIPTION_ATTRIBUTES
        self._keys: tuple[str, ...] = ()  # of secrets that name the session, by a dialect
        self._note_names()

    @property
    def other_attributes(self) -> tuple[tuple[str, ...], ...]:
        """Attributes that name the session, the subscription, the application, the client and the plan."""
        return self._session, self._subscription, self._application, self._client, self._plan

    def for_keys(self, keys: Iterable[str], body: Iterable[str] = (), headers: Iterable[str] = ()) -> Resolver:
        """A resolver that gives the same results for records with exactly these attribute keys, at less cost.

        body: keys of a flattened log body; headers: names of headers in it. Its `silent` is True when such a record has
        no identity.
        """
        of_body = frozenset(body)
        present = {*keys}
        request = {named[1] for key in present if (named := header_name(key)) and named[0] == "request"}
        response = {named[1] for key in present if (named := header_name(key)) and named[0] == "response"}
        request.update(headers)
        response.update(headers)
        if not present.isdisjoint(REQUEST_MAPS):
            request |= self.request_headers
        if not present.isdisjoint(RESPONSE_MAPS):
            response |= self.response_headers
        present |= of_body
        cut = copy.copy(self)
        cut._user_body_keys = tuple(key for key in self._user_body_keys if key in of_body)
        for name in ("_user_attributes", "_company_attributes", "_session", "_client", "_application"):
            setattr(cut, name, tuple(key for key in getattr(self, name) if key in present))
        cut._plan = tuple(key for key in self._plan if key in present)
        cut._subscription = tuple(key for key in self._subscription if key in present)
        cut._consumer_headers = tuple(name for name in self._consumer_headers if name in request)
        cut._authorization = tuple(name for name in self._authorization if name in request)
        either = request | response
        cut._user_headers = tuple(name for name in self._user_headers if name in either)
        cut._company_headers = tuple(name for name in self._company_headers if name in either)
        cut._note_names()
        if _KEY_HEADER not in request:
            cut.request_headers -= {_KEY_HEADER}
        cut.silent = not (
            cut.attribute_keys or cut._user_body_keys or cut.request_headers or cut.response_headers or cut.parameters
        )
        return cut

    def speaking(self, said: Mapping[str, tuple[str, ...]], ignored: frozenset[str]) -> Resolver:
        """This resolver for records that a dialect recognises.

        said: their keys by what they name, fields of a Vocabulary; ignored: keys that only sound like names of callers.
        """
        fields = ("user", "company", "session", "client", "application", "plan", "subscription", "key")
        if not ignored and not any(said.get(field) for field in fields):
            return self
        cut = copy.copy(self)
        for name, field in (
            ("_user_attributes", "user"),
            ("_user_body_keys", "user"),
            ("_company_attributes", "company"),
            ("_session", "session"),
            ("_client", "client"),
            ("_application", "application"),
            ("_plan", "plan"),
            ("_subscription", "subscription"),
            ("_keys", "key"),
        ):
            own = tuple(key for key in getattr(self, name) if key not in ignored)
            setattr(cut, name, (*own, *said.get(field, ())))
        cut.silent = self.silent and not any(said.get(field) for field in fields)
        return cut

    def resolve(
        self,
        attributes: Mapping[str, object],
        request_headers: Mapping[str, str] = _NO_HEADERS,
        response_headers: Mapping[str, str] = _NO_HEADERS,
        query: str = "",
        body: Mapping[str, object] = _EMPTY,
    ) -> Identity:
        """The identity in a record.

        Header names are in lower case. query: encoded, before masking. body: the flattened view of a log body.
        """
        if self.silent:
            return NOBODY
        claims, bearer = self._credentials(request_headers) if request_headers else (_EMPTY, "")
        user, user_source = self._user(attributes, request_headers, response_headers, query, body)
        company, company_source = self._company(attributes, request_headers, response_headers, query, body, claims)
        seal = self._seal
        if user:
            user = seal(f"claim:{self._user_claim}" if user_source == "authorization" else user_source, user)
        if company:
            company = seal(company_source, company)
        session = _any(attributes, body, self._session, seal) if self._session else ""
        if not session and request_headers:
            secret = request_headers.get(_KEY_HEADER, "")
            secret = bearer if is_absent(secret) else secret
            if secret and not is_absent(secret):
                # The credential identifies the session but must not be stored (sources/api-consumer-analytics.txt).
                session = _hashed(secret)
        if not session and self._keys:
            session = _hashed(_any(attributes, body, self._keys, unsealed))
        subscription = _any(attributes, body, self._subscription, seal) if self._subscription else ""
        application = _any(attributes, body, self._application, seal) if self._application else ""
        client = _any(attributes, body, self._client, seal) if self._client else ""
        plan = _any(attributes, body, self._plan, seal) if self._plan else ""
        if claims:
            client = client or _claimed(claims, _CLIENT_CLAIMS, seal)
            plan = plan or _claimed(claims, _PLAN_CLAIMS, seal)
        return _new(
            Identity,
            (user, company, session, subscription, application, client, plan, user_source, company_source),
        )

    def _note_names(self) -> None:
        self.attribute_keys = frozenset(
            (
                *self._user_attributes,
                *self._company_attributes,
                *self._session,
                *self._client,
                *self._application,
                *self._plan,
                *self._subscription,
            )
        )
        self.request_headers = frozenset(
            (*self._user_headers, *self._consumer_headers, *self._authorization, *self._company_headers, _KEY_HEADER)
        )
        self.response_headers = frozenset((*self._user_headers, *self._company_headers))
        self.parameters = frozenset(filter(None, (self._user_parameter, self._company_parameter)))
        self.silent = False

    def _credentials(self, headers: Mapping[str, str]) -> tuple[Mapping[str, object], str]:
        """(claims, bearer token) of the first authorization header that is there."""
        for name in self._authorization:
            text = headers.get(name)
            if text and not is_absent(text):
                token = tokens.read(text)
                return token.claims, "" if is_absent(token.bearer) else token.bearer
        return _EMPTY, ""

    def _user(
        self,
        attributes: Mapping[str, object],
        request: Mapping[str, str],
        response: Mapping[str, str],
        query: str,
        body: Mapping[str, object],
    ) -> tuple[str, str]:
        for name in self._user_headers:
            text = request.get(name)
            if text is None or is_absent(text):
                continue
            found = self._user_of_header(name, text)
            if found[0] or self._strict:
                return found
            break
        found = _first(attributes, self._user_attributes, "attr:") if self._user_attributes else ("", "")
        if not found[0] and body:
            found = _first(body, self._user_body_keys, "body:")
        if not found[0] and request:
            found = _first(request, self._consumer_headers, "header:")
            if not found[0]:
                for name in self._authorization:
                    found = self._user_of_token(request.get(name, ""))
                    if found[0]:
                        break
        if not found[0] and response:
            found = _first(response, self._user_headers, "response_header:")
        if not found[0] and query and self._user_parameter:
            found = _parameter(query, self._user_parameter)
        return found

    def _user_of_header(self, name: str, text: str) -> tuple[str, str]:
        if name == "authorization" or name in self._authorization:
            return self._user_of_token(text)
        return identifier(text), f"header:{name}"

    def _user_of_token(self, text: str) -> tuple[str, str]:
        if is_absent(text):
            return "", ""
        token = tokens.read(text)
        found = identifier(token.username) or _claim(token.claims, self._user_claim, self._user_text_only)
        return (found, "authorization") if found else ("", "")

    def _company(
        self,
        attributes: Mapping[str, object],
        request: Mapping[str, str],
        response: Mapping[str, str],
        query: str,
        body: Mapping[str, object],
        claims: Mapping[str, object],
    ) -> tuple[str, str]:
        found = ("", "")
        if self._company_headers and (request or response):
            found = _first(request, self._company_headers, "header:")
            if not found[0]:
                found = _first(response, self._company_headers, "response_header:")
        if not found[0] and self._company_attributes:
            found = _first(attributes, self._company_attributes, "attr:")
            if not found[0] and body:
                found = _first(body, self._company_attributes, "body:")
        if not found[0] and claims and (claimed := _claim(claims, self._company_claim, self._company_text_only)):
            found = claimed, f"claim:{self._company_claim}"
        if not found[0] and query and self._company_parameter:
            found = _parameter(query, self._company_parameter)
        return found


def _first(values: Mapping[str, object] | Mapping[str, str], keys: tuple[str, ...], kind: str) -> tuple[str, str]:
    for key in keys:
        value = values.get(key)
        if value is None:
            continue
        short = type(value) is str and len(value) <= _LONGEST_REMEMBERED
        if found := _remembered(value) if short else identifier(value):
            return found, kind + key
    return "", ""


def _any(attributes: Mapping[str, object], body: Mapping[str, object], keys: tuple[str, ...], seal: Seal) -> str:
    if not keys:
        return ""
    found, source = _first(attributes, keys, "attr:")
    if not found and body:
        found, source = _first(body, keys, "body:")
    return seal(source, found) if found else ""


def _hashed(secret: str) -> str:
    digest = sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
    return f"sha256:{digest[:32]}" if secret else ""


def _claim(claims: Mapping[str, object], name: str, text_only: bool) -> str:
    if not claims or not name:
        return ""
    value = tokens.lookup(claims, name)
    return identifier(value) if isinstance(value, str) or not text_only else ""


def _claimed(claims: Mapping[str, object], names: tuple[str, ...], seal: Seal) -> str:
    if not claims:
        return ""
    return next((seal(f"claim:{name}", found) for name in names if (found := identifier(claims.get(name)))), "")


def _parameter(query: str, name: str) -> tuple[str, str]:
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if unquote_plus(key) == name and (found := identifier(unquote_plus(value))):
            return found, f"query:{name}"
    return "", ""
