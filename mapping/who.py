"""Whose call a span is, by shape (mapping.md §5.1). The rules are `mapping.identity`'s; here is what makes them cheap.

Most shapes cannot name anybody, or only through attributes: those never reach the general resolver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mapping import identity
from mapping.captured import HeaderSlots
from mapping.identity import NOBODY, Identity, Resolver, identifier
from mapping.rules_settings import IdentitySettings
from mapping.shape import Shape


class WhoPlan:
    """Reads the identity of records of one shape."""

    __slots__ = ("_lists", "_names", "_query", "_resolver", "_simple", "silent")

    def __init__(
        self,
        shape: Shape,
        resolver: Resolver,
        settings: IdentitySettings,
        slots: HeaderSlots,
        query: Callable[[tuple[Any, ...]], str],
        consumed: set[str],
    ) -> None:
        """query: gives the query string of a record's values."""
        cut = resolver.for_keys(shape.at)
        self._resolver = cut
        self._query = query
        self.silent = cut.silent  # True: nobody is named, whatever the values
        self._names = [(key, shape.at[key]) for key in cut.attribute_keys]
        lists = [
            [key for key in keys if key in shape.at]
            for keys in (
                settings.user.attributes,
                settings.company.attributes,
                identity.SESSION_ATTRIBUTES,
                identity.SUBSCRIPTION_ATTRIBUTES,
                identity.APPLICATION_ATTRIBUTES,
                identity.CLIENT_ATTRIBUTES,
                identity.PLAN_ATTRIBUTES,
            )
        ]
        self._lists = tuple(tuple((shape.at[key], f"attr:{key}") for key in keys) for keys in lists)
        self._simple = not (cut.request_headers or cut.response_headers or cut.parameters)
        # What has a field of its own in the analytics API is not repeated in metadata.
        consumed.update(keys[0] for keys in lists[:4] if keys)

    def read(self, values: tuple[Any, ...], request: Mapping[str, str], response: Mapping[str, str]) -> Identity:
        """Own evidence of one record; headers as sent."""
        if not self._simple:
            attributes = {key: values[index] for key, index in self._names}
            query = self._query(values) if self._resolver.parameters else ""
            return self._resolver.resolve(attributes, request, response, query)
        found = [_first(values, where) for where in self._lists]
        return Identity._make([*(text for text, _ in found), found[0][1], found[1][1]])


def _first(values: tuple[Any, ...], where: tuple[tuple[int, str], ...]) -> tuple[str, str]:
    for index, source in where:
        text = identifier(values[index])
        if text:
            return text, source
    return "", ""


__all__ = ["NOBODY", "Identity", "WhoPlan"]
