"""Masks for one value, whatever it is: maps and lists are walked through, texts are masked by the structure they have.

Enters: a value and the verdicts of the place where it stands. Leaves: the same object when nothing in it was hidden.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Final, cast

import orjson

from mapping.masks.command_lines import command_lines
from mapping.masks.markup import form_parts, value_attributes, xml_elements
from mapping.masks.mask import MASK
from mapping.masks.neighbours import hidden_items
from mapping.masks.patterns import hider
from mapping.masks.search import NOTHING
from mapping.masks.settings import MaskSettings
from mapping.masks.shapes import SHORTEST, tokens
from mapping.masks.text import (
    ESCAPE,
    MAX_TEXT_CHARS,
    bare_pairs,
    beyond_keys,
    colon_pairs,
    cut,
    encoded_pairs,
    header_lines,
    is_form,
    may_hide_secrets,
    passwords_in_urls,
    printed_lists,
    quoted_pairs,
    raw_headers,
    tuples,
    two_words,
    uncoloured,
)
from mapping.masks.urls import UrlMasks, is_hash
from mapping.masks.verdicts import MAX_IN_ONE_PASS, SHAPED, PathNode, Verdict, Verdicts
from mapping.memory import Memory
from mapping.rules.address import valid_ip
from mapping.rules.bodies import body_named
from mapping.rules.codings import (
    CODED_BEGINNINGS,
    UNREADABLE,
    Unread,
    coded,
    garbled,
    holds_coded,
    readable,
    readable_text,
)

REMOVED: Final = object()  # in place of a value that goes altogether
LEAST_CODED_CHARS: Final = 16  # of a body that is base64
MAX_JSON_CHARS: Final = 1024 * 1024  # longer text is cut at once, even when it is JSON or holds nothing to mask
MAX_DEPTH: Final = 100  # deeper values are masked whole
_LONGEST_MEDIA_TYPE: Final = 128  # characters of a `data:` URL before its data
_CODED_DEPTH: Final = 20  # levels that base64 in a text counts for: a text of base64 in base64 is undone five times
_MAX_JSON_IN_A_QUERY: Final = 10  # levels of JSON that is itself a parameter
# {"name": "Authorization", "value": "..."}: headers and variables as HAR, OTLP, Kubernetes and AWS write them.
_NAME_KEYS = (
    "name",
    "key",
    "header",
    "Name",
    "Key",
    "Header",
    "headerName",
    "field",
    "option",
    "parameter",
    "k",
)
_VALUE_KEYS: Final = ("value", "Value", "values", "headerValue", "val", "v")
_JSON_BEGINS: Final = frozenset('{["')
# Log texts that masks had to look through: as many, of so many characters at most, 4 MB with what became of them.
_MOST_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 1024


class ValueMasks:
    """The masks of one Redactor, for what stands behind a key or in a text."""

    def __init__(self, settings: MaskSettings, query: Verdicts, log: Verdicts) -> None:
        """query: verdicts of parameters. log: those of JSON that is a parameter."""
        self.cuts = 0  # texts cut since they were longer than masks look at
        self.hide = hider(settings.patterns)
        self._log = log
        self._log_texts: Memory[str] = Memory(self._log_text, _MOST_REMEMBERED, _LONGEST_REMEMBERED)
        self._ip_mode = settings.ip_address
        self._hash_key = settings.hash_key.get_secret_value().encode()
        self.can_hash = bool(self._hash_key)
        self._defaults = settings.defaults
        self.urls = UrlMasks(
            query,
            self.hash_value,
            self.hide,
            lambda text: self.mask_text(text, log, None, MAX_DEPTH - _MAX_JSON_IN_A_QUERY),
            hashes=any(rule.action == "hash" for rule in settings.rules),
            shapes=settings.defaults,
        )

    def walk(self, value: object, verdicts: Verdicts, paths: PathNode | None, depth: int) -> object:
        kind = type(value)
        if kind is str:
            return self.mask_text(value, verdicts, paths, depth)  # type: ignore[arg-type]
        if kind is int or kind is float or value is None or kind is bool:
            if self.hide is not None and kind is int and self.hide(str(value)) != str(value):
                return MASK
            return value
        if depth > MAX_DEPTH:
            return MASK
        if kind is dict or isinstance(value, Mapping):
            return self._map(value, verdicts, paths, depth)  # type: ignore[arg-type]
        if isinstance(value, (list, tuple)):
            return self._list(value, verdicts, paths, depth + 1)
        if isinstance(value, (bytes, bytearray)):
            raw = readable(bytes(value))
            return UNREADABLE if isinstance(raw, Unread) else self.mask_bytes(raw, verdicts)
        return value

    def _list(self, value: Sequence[object], verdicts: Verdicts, paths: PathNode | None, depth: int) -> object:
        hidden = hidden_items(value, verdicts.of) if type(value[0] if value else None) is str else {}
        items = []
        for index, item in enumerate(value):
            if (found := hidden.get(index)) is not None:
                behind = item[len(found.shown) :] if isinstance(item, str) else item
                new = self.apply(cast("Verdict", found.verdict), behind)
                items.append(found.shown if new is REMOVED else f"{found.shown}{new}" if found.shown else new)
            else:
                items.append(self._item(item, verdicts, paths, depth))
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value

    def _item(self, item: object, verdicts: Verdicts, paths: PathNode | None, depth: int) -> object:
        """An element of a list. Lists of [name, value] pairs are how some servers write headers."""
        if isinstance(item, (list, tuple)) and len(item) == 2:
            name, value = item
            if isinstance(name, bytes):
                name = name.decode("latin-1")
            verdict = verdicts.of(name) if isinstance(name, str) else None
            # [["password", "email"], ...] would be odd, but numbers are values of their own.
            if verdict is not None and isinstance(value, (str, bytes, list, Mapping)):
                hidden = self.apply(verdict, value.decode("latin-1") if isinstance(value, bytes) else value)
                return [item[0], "" if hidden is REMOVED else hidden]
        return self.walk(item, verdicts, paths, depth)

    def _map(
        self, value: Mapping[str, object], verdicts: Verdicts, paths: PathNode | None, depth: int
    ) -> Mapping[str, object]:
        changed: dict[str, object] = {}
        for key, item in value.items():
            verdict = verdicts.of(key)
            below = paths.below(key) if paths is not None else None
            if verdict is None and below is not None:
                verdict = below.action
            if verdict is not None:
                new = self.apply(verdict, item)
            elif type(item) is str and len(item) >= LEAST_CODED_CHARS and " " not in item and body_named(key):
                new = self.mask_captured(item, verdicts, below, depth + 1)
            else:
                new = self.walk(item, verdicts, below, depth + 1)
            if new is not item:
                changed[key] = new
        for key in _VALUE_KEYS:
            if key in value and key not in changed:
                names = [value[name] for name in _NAME_KEYS if name in value]
                verdict = next(
                    (found for name in names if isinstance(name, str) and (found := verdicts.of(name))), None
                )
                if verdict is not None and type(value[key]) is not bool:
                    changed[key] = self.apply(verdict, value[key])
        if not changed:
            return value
        return {key: new for key, item in value.items() if (new := changed.get(key, item)) is not REMOVED}

    def mask_text(self, text: str, verdicts: Verdicts, paths: PathNode | None, depth: int) -> str:
        if len(text) > MAX_JSON_CHARS:
            text = self.cut(text)
        if text[:2] in CODED_BEGINNINGS and coded(text):
            return self._coded(text, verdicts, paths, depth)
        if text[:5] == "data:" and (at := text.find(";base64,", 5, _LONGEST_MEDIA_TYPE) + 1):  # a URL that is a picture
            begin = at + len("base64,")
            return text[:begin] + self._coded(text[begin:], verdicts, paths, depth)
        is_ascii = text.isascii()
        if not is_ascii and garbled(text):
            return UNREADABLE
        if len(text) < SHORTEST and not may_hide_secrets(text):
            return text if self.hide is None else self.hide(text)
        if is_ascii and verdicts.seek is not None and len(text) <= MAX_IN_ONE_PASS:  # as `seen_in`, without a call
            found = verdicts.seek(text.encode()) or None
        else:
            found = verdicts.seen_in(text)
        first = text[:1]
        json = first in _JSON_BEGINS or (first.isspace() and text.lstrip()[:1] in _JSON_BEGINS)
        codes = json and holds_coded(text)
        # Most texts: they name and show nothing, and there is nothing that other masks look for.
        done = found == NOTHING and not codes and self.hide is None
        if (
            done
            and "=" not in text
            and "@" not in text
            and "\\" not in text
            and '"-' not in text
            and ESCAPE not in text
        ):
            return text
        if not depth and verdicts is self._log and paths is verdicts.paths and len(text) <= _LONGEST_REMEMBERED:
            cuts = self.cuts
            shown = self._log_texts[text]
            if self.cuts != cuts:  # what was cut must be counted every time
                self._log_texts.pop(text, None)
            return shown
        return self._searched(text, verdicts, paths, depth, found, json=json, codes=codes)

    def _log_text(self, text: str) -> str:
        """A log text that may hold a secret, with its secrets hidden. Lines that tell of a start or a retry repeat."""
        json = text.lstrip()[:1] in _JSON_BEGINS
        codes, found = json and holds_coded(text), self._log.seen_in(text)
        return self._searched(text, self._log, self._log.paths, 0, found, json=json, codes=codes)

    def _searched(
        self,
        text: str,
        verdicts: Verdicts,
        paths: PathNode | None,
        depth: int,
        found: list[int] | None,
        *,
        json: bool,
        codes: bool,
        coloured: bool = True,
    ) -> str:
        """What `mask_text` makes of a text that may hold a secret. found: what is seen in it; json: it may be JSON, and
        codes: base64 of something may be in that; coloured: it may have colours of a terminal.
        """
        if coloured and (plain := uncoloured(text)) is not None:  # colours stand between a key and its value
            as_json, seen = plain.lstrip()[:1] in _JSON_BEGINS, verdicts.seen_in(plain)
            coded_in = as_json and holds_coded(plain)
            shown = self._searched(plain, verdicts, paths, depth, seen, json=as_json, codes=coded_in, coloured=False)
            if shown != plain:
                return shown
        sent = text
        shaped = found is None or SHAPED in found
        # A query has masks of its own, which the search for pairs in the whole text must not meet.
        queries = self.urls.sent(text) if "=" in text and ("?" in text or "#" in text) else ()
        # Escapes in JSON may spell keys, hide URLs; options stand before their value in lists.
        unsure = found != NOTHING or (json and (codes or '"-' in text or "\\u" in text or ":\\/" in text))
        if unsure and ("=" in text or may_hide_secrets(text)):
            beyond = shaped and beyond_keys(text)
            if (json and (beyond or codes or '"-' in text)) or verdicts.mentioned_in(text, json=json):
                text = self._structured(text, verdicts, paths, depth)
            elif beyond:
                text = self._printed(self.cut(text), verdicts)
                text = command_lines(encoded_pairs(text, verdicts.hides), verdicts.hides)
        if "=" in sent:
            if queries:
                text = self.urls.queries_in(text, queries)
            if ";" in text:
                text = self.urls.path(text)
        if "@" in text and ":" in text:
            text = passwords_in_urls(text)
        if self._defaults and (shaped or text is not sent):
            text = tokens(text)
        if self.hide is None:
            return text
        if len(text) > MAX_TEXT_CHARS and (parsed := _json_in(text)) is not None:
            masked = self.walk(parsed, verdicts, paths, depth + 1)
            return text if masked is parsed else orjson.dumps(masked).decode()
        return self.hide(self.cut(text))

    def mask_captured(self, text: str, verdicts: Verdicts, paths: PathNode | None, depth: int) -> str:
        """A body that a log line or an attribute carries under a name of bodies."""
        if text.lstrip()[:1] in _JSON_BEGINS or isinstance(readable_text(text), str):
            return self.mask_text(text, verdicts, paths, depth)
        return self._coded(text, verdicts, paths, depth)

    def _coded(self, text: str, verdicts: Verdicts, paths: PathNode | None, depth: int) -> str:
        """A text that is base64 of something: itself when it is text without secrets, hidden when it cannot be read."""
        raw = readable_text(text) if depth < MAX_DEPTH else MASK
        if isinstance(raw, str):
            return MASK if depth >= MAX_DEPTH else text
        if isinstance(raw, Unread):
            return UNREADABLE
        plain = raw.decode("utf-8", "surrogateescape")
        masked = self.mask_text(plain, verdicts, paths, depth + _CODED_DEPTH)
        return text if masked == plain else b64encode(masked.encode("utf-8", "surrogateescape")).decode("ascii")

    def cut(self, text: str) -> str:
        if len(text) <= MAX_TEXT_CHARS:
            return text
        self.cuts += 1
        return cut(text)

    def _structured(self, text: str, verdicts: Verdicts, paths: PathNode | None, depth: int) -> str:
        """Text that may be JSON, masked as such leaf by leaf; any other text, cut, with values behind keys masked."""
        if (parsed := _json_in(text)) is not None:
            masked = self.walk(parsed, verdicts, paths, depth + 1)
            return text if masked is parsed else orjson.dumps(masked).decode()
        secret, text = verdicts.hides, self.cut(text)
        masked = header_lines(bare_pairs(quoted_pairs(form_parts(text, secret), secret), secret), secret)
        if "'," in masked or '",' in masked:
            masked = tuples(masked, secret)
        if "eaders" in masked:
            masked = raw_headers(masked, secret)
        masked = self._printed(masked, verdicts)
        if "=" in masked:
            masked = two_words(masked, secret)
        if ":" in masked:
            masked = colon_pairs(masked, secret)
        if "</" in masked:
            masked = xml_elements(masked, secret)
        if "value=" in masked:
            masked = value_attributes(masked, secret)
        if beyond_keys(masked):
            masked = command_lines(encoded_pairs(masked, secret), secret)
        return text if masked == text else masked

    def _printed(self, text: str, verdicts: Verdicts) -> str:
        """The text with the secrets in printed lists hidden, as `_list` hides them in lists."""
        if "'-" not in text and '"-' not in text and "eaders" not in text:
            return text
        return printed_lists(
            text, lambda items: {index: found.shown for index, found in hidden_items(items, verdicts.of).items()}
        )

    def mask_bytes(self, raw: bytes, verdicts: Verdicts, content_type: str = "") -> bytes:
        """Bytes that are text, masked like text."""
        text = raw.decode("utf-8", "surrogateescape")
        if "form-urlencoded" in content_type or is_form(text):
            masked = self.urls.query(self.urls.query(text, verdicts))
        else:
            masked = self.mask_text(text, verdicts, verdicts.paths, 0)
        return raw if masked == text else masked.encode("utf-8", "surrogateescape")

    def apply(self, verdict: Verdict, value: object) -> object:
        if verdict in ("remove", "drop"):
            return REMOVED
        if value is None or value == "":
            return value
        if verdict == "ip":
            return ", ".join(map(self.mask_ip, value.split(","))) if isinstance(value, str) else MASK
        if verdict == "hash":
            if isinstance(value, str) and (value == MASK or is_hash(value)):
                return value
            if isinstance(value, (list, tuple)):  # one by one: a value has the same hash wherever it stands
                return [self.apply(verdict, item) for item in value]
            return self.hash_value(
                value if isinstance(value, str) else orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS)
            )
        return MASK

    def hash_value(self, value: str | bytes) -> str:
        raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        return "hmac-sha256:" + hmac.digest(self._hash_key, raw, "sha256").hex()[:32]

    def mask_ip(self, text: str) -> str:
        if self._ip_mode == "keep" or not text:
            return text
        address = valid_ip(text)
        if not address:
            return MASK
        if self._ip_mode == "hash":
            return self.hash_value(address)
        prefix = 48 if ":" in address else 24
        return str(ip_network(f"{address}/{prefix}", strict=False).network_address)


def _json_in(text: str) -> object:
    """The object, list or string that a text is as a whole in JSON, else None."""
    if text.lstrip()[:1] not in _JSON_BEGINS:
        return None
    try:
        parsed: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return parsed
