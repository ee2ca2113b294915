"""What all records of one resource and scope have in common, worked out once and remembered."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

import orjson

from mapping.bounds import CUT, LONGEST_ID
from mapping.context import Context, Group, text_of
from mapping.memory import Memory
from mapping.otlp.records import LogGroup, SpanGroup
from mapping.rules.identity import resource_company
from mapping.rules.metadata import flat_text

_ENVIRONMENT: Final = ("deployment.environment.name", "deployment.environment")
_REGION: Final = ("cloud.region", "cloud.availability_zone", "region")


class GroupFacts:
    """Group of every resource and scope seen lately."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._groups: Memory[Group] = Memory(self._make, limit=1024)
        self._pending: SpanGroup | LogGroup | None = None

    def of(self, group: SpanGroup | LogGroup, share: int) -> Group:
        """share: characters that the text may have, as each of many records repeats it."""
        self._pending = group
        found = self._groups[group.resource.raw, group.scope.raw, group.schema_url]
        if len(found.text) > share:
            found = _cut(found, share)
        return found._replace(large=True, odd=True) if group.large else found

    def _make(self, key: Any) -> Group:
        group = self._pending
        if group is None:
            raise RuntimeError("a group is made only while it is asked for")
        context = self._context
        attributes = group.resource.attributes
        company, source = resource_company(attributes)
        company = context.masks.sealed(source, company) if company else ""
        scope: dict[str, Any] = {"name": group.scope.name, "version": group.scope.version}
        scope["schema_url"] = group.schema_url
        scope = {name: value for name, value in scope.items() if value}
        scope |= {f"attributes.{key}": value for key, value in context.shown_attributes(group.scope.attributes).items()}
        # Neither name, environment nor region is read where the settings hide it.
        told = {name: value for name, value in attributes.items() if not context.masks.hides(f"attr:{name}")}
        service = text_of(told.get("service.name"))[:LONGEST_ID]
        return Group(
            service=service,
            environment=_first(told, _ENVIRONMENT),
            region=_first(told, _REGION),
            text=f'{{"resource":{flat_text(context.shown_attributes(attributes).items())},"scope":{flat_text(scope.items())}}}',
            company_id=company,
            resource=group.resource.raw,
            attributes=attributes,
            early_facts=_service_only(service),
            scope=group.scope.name,
        )


def _service_only(service: str) -> Callable[[str], object]:
    """Rule facts for samplers that decide before attributes are read."""
    return lambda path: service if path == "service" and service else None


def _first(attributes: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((text[:LONGEST_ID] for name in names if (text := text_of(attributes.get(name)))), "")


def _cut(group: Group, share: int) -> Group:
    """The group with a text of about `share` characters: its shortest members, in their order."""
    whole: dict[str, dict[str, Any]] = orjson.loads(group.text)
    members = [(part, key, len(orjson.dumps({key: value}))) for part, of in whole.items() for key, value in of.items()]
    kept: set[tuple[str, str]] = set()
    for part, key, size in sorted(members, key=itemgetter(2)):
        share -= size
        if share < 0:
            break
        kept.add((part, key))
    shown = {part: {key: of[key] for key in of if (part, key) in kept} for part, of in whole.items()}
    shown["resource"][CUT] = True
    return group._replace(text=orjson.dumps(shown).decode(), cut=True, odd=True)
