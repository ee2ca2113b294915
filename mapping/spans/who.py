"""Whose call a span is, by shape (spec/mapping.md §5.1). `mapping.rules.identity` has the rules; this makes them cheap.

Most shapes cannot name anybody, or only through attributes: those never reach the general resolver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mapping.context import Context
from mapping.masks.shapes import KEYS_BEGIN
from mapping.rules.identity import Identity, identifier
from mapping.shape import Shape
from mapping.spans.captured import HeaderSlots

Places = tuple[tuple[int, str], ...]  # index of an attribute, and its name as a source

_new: Final = tuple.__new__
_TEXTS: Final = frozenset((str,))


class WhoPlan:
    """Reads the identity of records of one shape."""

    __slots__ = (
        "_company",
        "_ids",
        "_looked_at",
        "_names",
        "_others",
        "_query",
        "_remembered",
        "_request",
        "_resolver",
        "_response",
        "_simple",
        "_user",
        "silent",
    )

    def __init__(
        self,
        shape: Shape,
        context: Context,
        slots: HeaderSlots,
        query: Callable[[tuple[Any, ...]], str],
        consumed: set[str],
    ) -> None:
        """query: gives the query string of a record's values."""
        at, settings = shape.at, context.identity
        said = shape.reading.callers
        cut = context.resolver.for_keys(at)
        if said:
            cut = cut.speaking(said, shape.reading.ignored)
        self._resolver = cut
        self._query = query
        self.silent = cut.silent  # True: nobody is named, whatever the values
        # A secret that names the session is hashed: that is the resolver's.
        self._simple = not (cut.request_headers or cut.response_headers or cut.parameters or said.get("key"))
        self._simple = self._simple and not any(context.masks.seals(f"attr:{key}") for key in cut.attribute_keys)
        keys = dict.fromkeys((*cut.attribute_keys, *(key for names in said.values() for key in names)))
        self._names = [(key, at[key]) for key in keys if at[key] not in shape.many]
        self._request, self._response = sorted(cut.request_headers), sorted(cut.response_headers)
        # Header values of one caller repeat, tokens above all: what they say is remembered.
        self._remembered = context.identities
        self._user = _places(shape, (*settings.user.attributes, *said.get("user", ())))
        self._company = _places(shape, (*settings.company.attributes, *said.get("company", ())))
        others = ("session", "subscription", "application", "client", "plan")
        places = tuple(
            _places(shape, (*names, *said.get(field, ())))
            for names, field in zip(context.resolver.other_attributes, others, strict=True)
        )
        self._others = [(field, where) for field, where in enumerate(places) if where]
        # Only a text that was marked may be a key by its own shape, which is no user in clear.
        at_all = (self._user, self._company, *places)
        self._looked_at = [index for found in at_all for index, _ in found if index in shape.look]
        self._ids = context.ids
        # What has a field of its own in the analytics API is not repeated in metadata.
        for found in (self._user, self._company, *places[:2]):
            if found:
                consumed.add(found[0][1].removeprefix("attr:"))

    def read(self, values: tuple[Any, ...], request: Mapping[str, str], response: Mapping[str, str]) -> Identity:
        """Own evidence of one record; headers as sent."""
        if not self._simple or (self._looked_at and any(map(_is_a_key, map(values.__getitem__, self._looked_at)))):
            found = [values[index] for _, index in self._names]
            # Numbers are not remembered: as keys, 1 and True are the same.
            if self._resolver.parameters or not _TEXTS.issuperset(map(type, found)):
                attributes = {key: values[index] for key, index in self._names}
                return self._resolver.resolve(attributes, request, response, self._query(values))
            return self._remembered[
                (self, *found, *map(request.get, self._request), *map(response.get, self._response))
            ]
        user = user_source = company = company_source = ""
        ids = self._ids  # callers repeat: the second look at one costs a tenth of the first
        for index, source in self._user:
            value = values[index]
            if user := ids[value] if type(value) is str else identifier(value):
                user_source = source
                break
        for index, source in self._company:
            value = values[index]
            if company := ids[value] if type(value) is str else identifier(value):
                company_source = source
                break
        if not self._others:
            return _new(Identity, (user, company, "", "", "", "", "", user_source, company_source))
        others = ["", "", "", "", ""]
        for field, where in self._others:
            for index, _ in where:
                if text := identifier(values[index]):
                    others[field] = text
                    break
        return _new(Identity, (user, company, *others, user_source, company_source))

    def resolved(self, found: tuple[Any, ...]) -> Identity:
        """The identity in the values of attributes and headers, in the order in which `read` puts them."""
        parts = iter(found)
        attributes = {key: next(parts) for key, _ in self._names}
        request = {name: text for name in self._request if (text := next(parts)) is not None}
        response = {name: text for name in self._response if (text := next(parts)) is not None}
        return self._resolver.resolve(attributes, request, response)


def _is_a_key(value: Any) -> bool:
    return type(value) is str and value.startswith(KEYS_BEGIN)


def _places(shape: Shape, names: tuple[str, ...]) -> Places:
    return tuple((shape.at[name], f"attr:{name}") for name in names if name in shape.at)
