"""Masks for texts with marks of their own: XML and HTML elements and attributes, parts of a multipart form."""

from __future__ import annotations

import re

from mapping.masks.mask import MASK
from mapping.masks.text import Secret

_LINE_END = r"(?:\r?\n|(?:\\{1,8}r)?\\{1,8}n)"  # as it is, or escaped as in JSON and Python's repr
_FORM_NAME = re.compile(r"(?:(?<!\w)|(?<=\\[nrt]))name=\\{0,8}+\"([^\"\\]{1,200}+)\\{0,8}+\"")
_EMPTY_LINE = re.compile(_LINE_END + _LINE_END).search
_MAX_PART_HEADER_CHARS = 2000  # behind the name of a form's part; other texts hold name="x" too
_PART_END = re.compile(rf"{_LINE_END}--").search
# Without an end where the text was cut.
_XML_ELEMENT = re.compile(r"<([\w:.\-]{1,200}+)((?:\s[^<>]*+)?)>(?:<!\[CDATA\[)?([^<]*+)(</|\Z)")
# One step of a walk through tags: where a tag ends, a name, a value.
_TAG_STEP = re.compile(
    r"[<>]|\b(?:name|key)=(\\{0,8}+[\"'])([^\"'<>\\]{1,200}+)\1|(?<=\s)value=(?P<quote>\\{0,8}+[\"'])(?=[^\"'])"
)


def form_parts(text: str, secret: Secret) -> str:
    """Fields of a multipart/form-data body."""
    if 'name="' not in text and "name=\\" not in text:
        return text

    out: list[str] = []
    at = 0
    names = list(_FORM_NAME.finditer(text))
    if not names:
        return text
    for found, following in zip(names, [*(name.start() for name in names[1:]), len(text)], strict=True):
        # A part's header ends before the next name does: each stretch of the text is looked through once.
        limit = min(following, found.end() + _MAX_PART_HEADER_CHARS)
        if found.start() < at or not secret(found[1]) or (empty := _EMPTY_LINE(text, found.end(), limit)) is None:
            continue
        end = _PART_END(text, empty.end())
        out += text[at : empty.end()], MASK
        at = end.start() if end is not None else len(text)
    return "".join((*out, text[at:])) if out else text


def xml_elements(text: str, secret: Secret) -> str:
    """The text of XML elements; a namespace prefix does not count."""
    return _XML_ELEMENT.sub(
        lambda found: f"<{found[1]}{found[2]}>{MASK}{found[4]}" if secret(found[1].rpartition(":")[2]) else found[0],
        text,
    )


def value_attributes(text: str, secret: Secret) -> str:
    """`<add key="password" value="x"/>`, `<input value="x" name="password">`: a name and a value in one tag."""
    spans: list[tuple[int, int]] = []  # of values to hide
    values: list[tuple[int, int]] = []  # of this tag
    named, at = False, 0

    for found in _TAG_STEP.finditer(text):
        if found.start() < at:
            continue
        if found[2]:
            named = named or secret(found[2])
        elif found["quote"]:
            end = text.find(found["quote"], found.end())
            at = end if end >= 0 else len(text)
            values.append((found.end(), at))
        else:
            spans += values if named else ()
            values, named = [], False
    spans += values if named else ()
    out: list[str] = []
    at = 0
    for begin, end in spans:
        out += text[at:begin], MASK
        at = end
    return "".join((*out, text[at:])) if out else text
