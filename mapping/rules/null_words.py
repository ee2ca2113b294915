"""Words that senders write for nothing (spec/mapping.md §5); absent wherever identity or a route is read."""

from __future__ import annotations

import re
from typing import Final

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
        "optional[empty]",
        "option.none",  # OCaml, F#
        ":nil",  # Elixir
        "#<nilclass>",
        "nil:nilclass",  # Ruby
        "dbnull",
        "null@null",  # Keycloak and others that join a user and a realm
        "null::text",
        "undef",  # Perl
        "(undef)",
        "<undef>",
        "#undef",
        "not set",
        "not-set",
        "not_set",
        "<not set>",
        "(missing)",
        "<missing>",
        "<redacted>",
        "<hidden>",
        "****",
        "()",
        "\u2013",
        "\u2014",
        "infinity",
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

# Templates that nobody filled in, and what languages print of an object that has no text of its own.
_UNFILLED: Final = re.compile(
    r"\$\{[^{}]*+\}|\{\{[^{}]*+\}\}|\{[a-z_][\w.\-]*+\}|#\{[^{}]*+\}|%\{[^{}]*+\}[a-z]?|<%.*%>"
    r"|\$[a-z]+_[a-z_]+|%[a-z_]+%|%[a-z_]+\([^()]*+\)%|%[svdqx]|%![a-z]\(.*\)"  # nginx, Envoy, printf
    r"|<[a-z_. ]+ at 0x[0-9a-f]+>|<[a-z_. ]*\b(?:object|method|function|value)\b[a-z_. ]*>"
    r"|<simplelazyobject: <anonymoususer>>|(?:[a-z]\w*+\.)+[a-z$]\w*+@(?=[a-f]{0,7}[0-9])[0-9a-f]{5,8}",
    re.ASCII | re.IGNORECASE | re.DOTALL,
).fullmatch
_LONGEST_UNFILLED: Final = 256  # characters
_LONGEST = max(map(len, NULL_WORDS))
_FIRST = frozenset(case for word in NULL_WORDS for case in (word[:1].lower(), word[:1].upper()))


def is_absent(text: str) -> bool:
    """True for a null word in any case, blanks around it ignored."""
    first = text[:1]
    if first not in _FIRST and not first.isspace():
        return False  # nearly all real values: paths, numbers, most names
    return (len(text) <= _LONGEST and text.strip().lower() in NULL_WORDS) or text.isspace()


def is_nobody(text: str) -> bool:
    """True for what names nobody: null words, templates that nobody filled in, objects printed by their address.

    Not for routes, whose placeholders look like templates.
    """
    return is_absent(text) or (len(text) <= _LONGEST_UNFILLED and _UNFILLED(text) is not None)
