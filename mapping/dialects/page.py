"""docs/dialects.md, made from the tables: `python -m mapping.dialects.page > docs/dialects.md`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mapping.dialects.table import (
    FIELDS,
    GENERIC,
    SPAN_FIELDS,
    Dialect,
    Models,
    Sign,
    SpanVocabulary,
    Vocabulary,
    builtin,
)

_INTRODUCTION = """\
# Whose words are understood

What a gateway, a framework or a logger calls a method, a status, a user or a duration stands in a table of its own,
one file a system in [mapping/dialects](../mapping/dialects). A record that a dialect recognises is read by it; what it
does not say is read by the names that count for everybody ([Any other logger](#any-other-logger)). Names of objects
within objects are joined by dots; case, `-` and `_` do not matter, except for durations, whose unit hangs on the exact
name. A value counts only if it can be what it is read as: a null word is nobody, a number without a known unit is no
duration, the name of a machine is no host.

`weighbridge map FILE --explain` says for a request at hand which dialect and which name gave each field of a log
record or span. A table of your own, with the same keys, in place of a built-in one or beside them:

```yaml
mapping:
  dialects:
    shopgate:
      title: Our own gateway
      logs:
        known_by: [{keys: [sg_verb, sg_code]}]
        method: sg_verb
        status: sg_code
        url: sg_target
        host_header: sg_host
        user: sg_customer
        key: sg_key
        duration: {sg_took: ms}
      spans:
        known_by: [{keys: [sg.verb, sg.target]}]
        method: sg.verb
        status: sg.code
        url: sg.target
        user: sg.customer
```

Spans mostly keep to the semantic conventions, which need no table ([what is read](mapping.md)). A table for spans says
what a system names otherwise, which attributes name its callers, and which of its internal spans are plumbing. Its
names are spelled exactly; a name of the conventions that a span has too comes first, unless it is `ignored`.

`weighbridge check` says whether it is right. This page is made from the tables:
`python -m mapping.dialects.page > docs/dialects.md`. Trace and span ids are read in the spelling of any system, times
and levels too ([which](mapping.md#logs)).

## All systems

What a table is about; everything else of a system is read by the semantic conventions and the names for everybody.

"""


def page() -> str:
    """The page as Markdown."""
    tables = builtin()
    order = sorted(tables, key=lambda name: (name == GENERIC, tables[name].title.lower()))
    overview = ["| system | logs | spans | models |", "|---|---|---|---|", *(_line(tables[name]) for name in order), ""]
    return _INTRODUCTION + "\n".join((*overview, *("\n".join(_section(name, tables[name])) for name in order)))


def _line(dialect: Dialect) -> str:
    """A line of the overview, with a link to the section as GitHub names it."""
    anchor = re.sub(r"[^\w\- ]", "", dialect.title.lower()).replace(" ", "-")
    told = (dialect.logs != Vocabulary(), dialect.spans != SpanVocabulary(), dialect.models != Models())
    return f"| [{dialect.title}](#{anchor}) | {' | '.join('yes' if tells else '' for tells in told)} |"


def _section(name: str, dialect: Dialect) -> Iterator[str]:
    yield f"## {dialect.title}"
    yield ""
    source = f"[Documented]({dialect.source}); " if dialect.source else ""
    yield f"{source}`mapping/dialects/{name}.yaml`."
    yield ""
    words = dialect.logs
    if words.known_by:
        yield f"Log records with {', or '.join(map(_sign, words.known_by))}."
        yield ""
    if words.lines:
        yield "Lines of plain text that begin with"
        yield ""
        yield from ("```text", *words.lines, "```", "")
    if rows := list(_rows_of_models(dialect.models)):
        yield "Spans of models, agents and tools:"
        yield ""
        yield from ("| what | read from |", "|---|---|", *rows, "")
    if rows := list(_rows(words)):
        yield from ("| what | read from |", "|---|---|", *rows, "")
    yield from _spans(dialect.spans)
    if dialect.cannot_say:
        yield f"*Not said:* {dialect.cannot_say}"
        yield ""
    if dialect.switch_on:
        yield f"*To switch on:* {dialect.switch_on}"
        yield ""


def _rows(words: Vocabulary) -> Iterator[str]:
    for field in FIELDS:
        names = getattr(words, field)
        if names:
            yield f"| {field.replace('_', ' ')} | {_codes(names)} |"
    if words.duration:
        told = ", ".join(f"`{name}` ({unit})" for name, unit in words.duration.items())
        yield f"| duration | {told} |"
    if words.below:
        yield f"| also below | {_codes(words.below)} |"
    if words.methods:
        yield f"| methods by number | {', '.join(f'{number} {verb}' for number, verb in words.methods.items())} |"


def _spans(words: SpanVocabulary) -> Iterator[str]:
    if words.known_by:
        yield f"Spans with {', or '.join(map(_sign, words.known_by))}."
        yield ""
    rows = [
        f"| {field.replace('_', ' ')} | {_codes(names)} |" for field in SPAN_FIELDS if (names := getattr(words, field))
    ]
    if words.status_events:
        told = ", ".join(f"`{name}` of the event `{event}`" for event, name in words.status_events.items())
        rows.append(f"| status | {told} |")
    if rows:
        yield from ("| what | read from |", "|---|---|", *rows, "")
    if words.incoming:
        yield "Its internal spans with a method are calls that were served."
        yield ""
    if words.given_up:
        yield f"A status of {_codes(words.given_up)} says that the caller had gone before there was one."
        yield ""
    if words.shares_ids:
        yield f"A call that was made, with {_codes(words.shares_ids)}, may have the span id of its server's span."
        yield ""
    if words.plumbing:
        yield f"Plumbing: internal spans with {', or '.join(map(_sign, words.plumbing))}."
        yield ""


def _rows_of_models(models: Models) -> Iterator[str]:
    if models.signs:
        yield f"| known by | {_codes(models.signs)} |"
    for attribute, meanings in models.operations.items():
        told = ", ".join(f"`{value}` {meaning}" for value, meaning in meanings.items())
        yield f"| operation, by `{attribute}` | {told} |"
    for field in Models.model_fields:
        names = getattr(models, field)
        if names and field not in ("signs", "operations"):
            yield f"| {field.replace('_', ' ')} | {_codes(names)} |"


def _sign(sign: Sign) -> str:
    keys = " and ".join(f"`{key}`" for key in sign.keys)
    scope = f"the scope `{sign.scope}`" if sign.scope else ""
    order = [f"{_codes(names)} {where}" for names, where in ((sign.begins, "first"), (sign.ends, "last")) if names]
    return " and ".join([f"{keys} from {scope}" if keys and scope else keys or scope, *order]).removeprefix(" and ")


def _codes(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    print(page(), end="")
