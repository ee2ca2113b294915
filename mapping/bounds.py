"""What a record may be at most, and what leaves mapping at most, whoever sent it: every bound with its reason.

They hold wherever a request is mapped, so on replay as well. What is over a bound is cut or left out; CUT says so.
"""

from __future__ import annotations

from typing import Final

# -- times and numbers -----------------------------------------------------------------------------------------

# Nanoseconds since 1970: what int64 and the store's DateTime64(9) hold, until April 2262.
LAST_NS: Final = (1 << 63) - 1
MOST_SEVERE: Final = 24  # FATAL4, the highest severity number of OTLP; the wire has 32 bits for it, the store 8
# Milliseconds: a call that took longer than a year did not; its number had another unit.
LONGEST_MS: Final = 366 * 86_400_000.0

# -- structure -------------------------------------------------------------------------------------------------

# The attribute, and the event flag, that says that something of a record was over a bound and was left out.
CUT: Final = "record_truncated"
# Characters of a key, dots of the keys that lead to it included. Keys are repeated for every leaf below them.
LONGEST_KEY: Final = 1024
# Dots in a key: each is a level of JSON later, and readers of JSON stop at some 250 levels (orjson, jq, Kafka tools).
MOST_DOTS: Final = 32
# Levels of arrays and maps in one value of OTLP; protobuf itself stops at 100 messages, about 33 maps.
DEEPEST_VALUE: Final = 32
# Levels of a JSON text that is kept as JSON; a deeper one is kept as text. For the same readers as above.
DEEPEST_JSON: Final = 64
# Attributes of a record, resource, scope, event or link. SDKs stop at 128; an event shows 64 (metadata.MAX_KEYS).
MOST_ATTRIBUTES: Final = 1024
# Values inside one attribute or body. Each costs some 100 bytes and a microsecond several times over.
MOST_LEAVES: Final = 10_000
# Events, and links, of a span: the first and the last half of so many. SDKs stop at 128.
MOST_EVENTS: Final = 128
# Characters of an id, and of a name that a resource gives to all its records. They are repeated from record to record.
LONGEST_ID: Final = 1024
# Characters of JSON text that is parsed, which takes up to 70 times as much memory.
LONGEST_JSON: Final = 1 << 20

# -- finished events -------------------------------------------------------------------------------------------

# Bytes of one finished event: two bodies at their most (450 KiB in base64 each), and nearly as much of the rest.
LARGEST_EVENT: Final = 2_000_000
# Bytes of one text that are read at all: with as many an event is over LARGEST_EVENT, so this text is left out of it.
# To copy and encode 60 MB a few times, only to find that out, took a third of a second in one step.
LONGEST_TEXT: Final = LARGEST_EVENT
# Bytes on the wire below which no event comes near LARGEST_EVENT: JSON escapes make six bytes of one at worst.
LARGE_RECORD: Final = 128 << 10

# -- what one request becomes ----------------------------------------------------------------------------------

# Characters that the events of one request hold of resources and scopes together, since each event repeats its own...
RESOURCE_ROOM: Final = 32 << 20
LEAST_SHARE: Final = 4096  # ... but so many are left to each event; those of Kubernetes take 1,500
# Bytes that the compressed bodies of one request become together, or twice the request if that is more.
INFLATED_ROOM: Final = 32 << 20


def held(unix_ns: int) -> int:
    """The time, 0 (no time) for one that is negative or beyond LAST_NS."""
    return unix_ns if 0 <= unix_ns <= LAST_NS else 0


def is_key(key: str) -> bool:
    """Whether a key is within its bounds."""
    return len(key) <= LONGEST_KEY and (len(key) <= MOST_DOTS or key.count(".") <= MOST_DOTS)


def leaves(value: object) -> int:
    """How many values there are in a value, itself counted when it is no map and no array."""
    count, todo = 0, [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
        else:
            count += 1
    return count


def is_deep(text: str, parsed: object) -> bool:
    """Whether a JSON text nests deeper than DEEPEST_JSON. parsed: what it holds; seldom looked at."""
    if len(text) <= 2 * DEEPEST_JSON or text.count("{") + text.count("[") <= DEEPEST_JSON:
        return False
    level: list[object] = [parsed]
    for _ in range(DEEPEST_JSON + 1):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def share_of(records: int) -> int:
    """Characters that each event of a request of so many records may hold of its resource and scope."""
    return RESOURCE_ROOM // records if 0 < records < RESOURCE_ROOM // LEAST_SHARE else LEAST_SHARE
