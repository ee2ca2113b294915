"""Words that senders write for nothing (spec/mapping.md §5); absent wherever identity or a route is read."""

from __future__ import annotations

NULL_WORDS = frozenset(
    (
        "",
        "null",
        "none",
        "undefined",
        "nil",
        "-",
        "--",
        "unknown",
        "[redacted]",
        "redacted",
        "***",
        "*****",
        "********",
        "[filtered]",  # Rails, Sentry
        # What languages print for nothing.
        "<nil>",  # Go
        "%!s(<nil>)",
        "%!v(<nil>)",
        "%!d(<nil>)",
        "%!q(<nil>)",
        "%!s(missing)",
        "%!v(missing)",
        "<no value>",  # Go's templates
        "(null)",  # C, Objective-C, Serilog
        "(nil)",  # C, Lisp
        "<null>",
        "[null]",
        "\\n",  # MySQL and PostgreSQL in dumps (\N)
        "(none)",
        "<none>",  # kubectl, Docker
        "(unknown)",
        "<unknown>",
        "(undefined)",
        "<undefined>",
        "(empty)",
        "<empty>",
        "(not set)",
        "[object object]",  # JavaScript
        "[object null]",
        "[object undefined]",
        "nan",
        "n/a",
        "#n/a",
        "nullptr",
        "some(null)",
        "optional.empty",  # Java
        "nothing",  # Julia, Visual Basic
        '""',
        "''",
        "[]",
        "{}",
        "anonymous",
        "anonymoususer",  # Spring Security
        "<anonymous>",
        "(anonymous)",
        "system:anonymous",  # Kubernetes
        "00000000-0000-0000-0000-000000000000",  # Guid.Empty, uuid.Nil
    )
)

_LONGEST = max(map(len, NULL_WORDS))
_FIRST = frozenset(case for word in NULL_WORDS for case in (word[:1].lower(), word[:1].upper()))


def is_absent(text: str) -> bool:
    """True for a null word in any case, blanks around it ignored."""
    first = text[:1]
    if first not in _FIRST and not first.isspace():
        return False  # nearly all real values: paths, numbers, most names
    return (len(text) <= _LONGEST and text.strip().lower() in NULL_WORDS) or text.isspace()
