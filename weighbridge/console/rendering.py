"""Facts -> pages: the templates of the package, with every text escaped and made visible."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

import jinja2
from aiohttp import hdrs, web

from weighbridge.console import charts, drawings, shown
from weighbridge.console.asked import RANGES, address

_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FOREVER: Final = "public, max-age=31536000, immutable"  # their address holds a digest of their content


def page(template: str, facts: Mapping[str, Any], status: int = 200) -> web.Response:
    text = _templates().get_template(template).render(facts)
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def part(template: str, name: str, *values: object) -> str:
    """What a macro of a template makes of the values."""
    module = _templates().get_template(template).module
    return str(getattr(module, name)(*values))


async def static(request: web.Request) -> web.Response:
    """The stylesheet, the script and the icon."""
    found = _static().get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound(text="there is no such file")
    content, kind, digest = found
    headers = {hdrs.ETAG: f'"{digest}"', hdrs.CACHE_CONTROL: _FOREVER}
    return web.Response(body=content, content_type=kind, charset="utf-8", headers=headers)


@functools.cache
def _static() -> Mapping[str, tuple[bytes, str, str]]:
    """Content, type and digest by name."""
    found = {}
    for file in files("weighbridge.console").joinpath("static").iterdir():
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind:
            content = file.read_bytes()
            found[file.name] = (content, kind, hashlib.sha256(content).hexdigest()[:12])
    return found


def static_address(name: str) -> str:
    return f"/static/{name}?v={_static()[name][2]}"


@functools.cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("weighbridge.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown.finalize,
    )
    environment.globals.update(
        static=static_address, address=address, charts=charts, ranges=RANGES, when=shown.when, what=shown.what
    )
    for one in (shown.number, shown.percent, shown.milliseconds, shown.size, shown.age, shown.multiline):
        environment.filters[one.__name__] = one
    environment.filters |= {"status": shown.status_class, "grave": shown.severity_class}
    environment.globals.update(
        around=drawings.around,
        facet_terms=drawings.facet_terms,
        whole_event=drawings.whole_event,
        filterable=drawings.filterable,
        outcomes=drawings.outcomes,
        spool_parts=drawings.spool_parts,
        numeric=drawings.is_numeric,
        cell=drawings.cell,
    )
    environment.globals |= {"interval": shown.interval, "change": shown.change}
    return environment
