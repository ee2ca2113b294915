"""What all records of one resource and scope have in common, worked out once and remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mapping.context import Context, Group, Memory, text_of
from mapping.otlp.decode import LogGroup, SpanGroup
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

    def of(self, group: SpanGroup | LogGroup) -> Group:
        self._pending = group
        return self._groups[group.resource.raw, group.scope.raw, group.schema_url]

    def _make(self, key: Any) -> Group:
        group = self._pending
        if group is None:
            raise RuntimeError("a group is made only while it is asked for")
        context = self._context
        attributes = group.resource.attributes
        scope: dict[str, Any] = {"name": group.scope.name, "version": group.scope.version}
        scope["schema_url"] = group.schema_url
        scope = {name: value for name, value in scope.items() if value}
        scope |= {f"attributes.{key}": value for key, value in context.masks.attributes(group.scope.attributes).items()}
        service = text_of(attributes.get("service.name"))
        return Group(
            service=service,
            environment=_first(attributes, _ENVIRONMENT),
            region=_first(attributes, _REGION),
            text=f'{{"resource":{flat_text(context.masks.attributes(attributes).items())},"scope":{flat_text(scope.items())}}}',
            company_id=resource_company(attributes)[0],
            resource=group.resource.raw,
            attributes=attributes,
            early_facts=_service_only(service),
        )


def _service_only(service: str) -> Callable[[str], object]:
    """Rule facts for samplers that decide before attributes are read."""
    return lambda path: service if path == "service" and service else None


def _first(attributes: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((text for name in names if (text := text_of(attributes.get(name)))), "")
