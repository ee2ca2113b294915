"""Secrets that show by their own shape, whatever stands around them: keys of providers, JWTs, `Bearer x`, private keys.

Found with RE2, so that a search takes time linear in the text.
"""

from __future__ import annotations

import re
from typing import Any, Final

import re2  # type: ignore[import-untyped]

from mapping.masks.mask import MASK

SHORTEST: Final = 15  # `Bearer` and the shortest token
_SHAPES: Final = re2.compile(
    r"(\b|\\[nrt])("
    r"sk-[A-Za-z0-9_\-]{16,}|(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{8,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_\-]{16,}"
    r"|xox[abeprs]-[A-Za-z0-9\-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}\b|AIza[A-Za-z0-9_\-]{30,}"
    r"|eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*"
    r"|SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}|hf_[A-Za-z0-9]{30,}|whsec_[A-Za-z0-9+/=]{24,}"
    r"|(?i:bearer|basic)[ +]{1,4}[A-Za-z0-9+/=._~\-]{8,}"
    r")"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:[^-]|-[^-])*(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
)
# The beginnings of all of them, for texts as bytes: a text with none of these has no such secret in it.
BEGINNINGS: Final = (
    rb"sk-[A-Za-z0-9_\-]{16}|_(?:live|test)_[A-Za-z0-9]{8}|gh[pousr]_[A-Za-z0-9]{8}|github_pat_|glpat-"
    rb"|xox[abeprs]-|(?:AKIA|ASIA)[A-Z0-9]{8}|AIza[A-Za-z0-9_\-]{8}|eyJ[A-Za-z0-9_\-]{8}"
    rb"|SG\.[A-Za-z0-9_\-]{16}|hf_[A-Za-z0-9]{8}|whsec_|(?i:bearer|basic)[ +]{1,4}[A-Za-z0-9+/=._~\-]{8}"
    rb"|PRIVATE KEY-----"
)
# How a text begins that is such a secret alone.
KEYS_BEGIN: Final = (
    *("sk-", "sk_", "pk_", "rk_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "AKIA"),
    *("ASIA", "AIza", "eyJ", "SG.", "hf_", "whsec_", "Bearer", "bearer", "BEARER", "Basic", "basic", "BASIC"),
    *("-----BEGIN",),
)
_ODD_RUNS: Final = re.compile("([\ud800-\udfff]++)")
_is_odd: Final = _ODD_RUNS.fullmatch


def tokens(text: str) -> str:
    """The text with such secrets hidden; the same object for nearly all texts."""
    if len(text) < SHORTEST:
        return text
    try:
        if _SHAPES.search(text) is None:
            return text
    except UnicodeEncodeError:  # bytes that are no text, as surrogates
        parts = [part if _is_odd(part) else tokens(part) for part in _ODD_RUNS.split(text)]
        hidden_parts = "".join(parts)
        return text if hidden_parts == text else hidden_parts
    hidden: str = _SHAPES.sub(_hidden, text)
    return text if hidden == text else hidden


def may_show_a_key(text: str) -> bool:
    """False for most texts, ten times as fast as the search: none of the shapes can begin in them."""
    return len(text) >= SHORTEST and (
        "earer" in text
        or "asic" in text
        or "sk-" in text
        or "eyJ" in text
        or "_live_" in text
        or "_test_" in text
        or "ghp_" in text
        or "gho_" in text
        or "ghu_" in text
        or "ghs_" in text
        or "ghr_" in text
        or "_pat_" in text
        or "glpat-" in text
        or "xox" in text
        or "AKIA" in text
        or "ASIA" in text
        or "AIza" in text
        or "SG." in text
        or "hf_" in text
        or "whsec_" in text
        or "EARER" in text
        or "ASIC" in text
        or " KEY-----" in text
    )


def is_or_tells_a_key(text: str) -> bool:
    """False for most texts, sooner still: they are no such secret alone, and no sentence that may have one."""
    return len(text) >= SHORTEST and (text.startswith(KEYS_BEGIN) or (" " in text and may_show_a_key(text)))


def _hidden(found: Any) -> str:
    before, token = found[1] or "", found[2]
    if token is None:
        return MASK
    scheme, blank, value = token.partition(" ")
    if not blank:
        # No key of a provider is without digits: `sk-some-name-of-a-class` is a word.
        return before + (MASK if any(map(str.isdigit, token)) else token)
    value = value.lstrip()
    # `Bearer authentication failed.`, `basic auth/digest`: words of a sentence.
    inner = value.rstrip(".=")
    plain = inner.replace("-", "").replace("/", "").replace(".", "")
    if plain.isalpha() and (plain.islower() or plain.isupper() or plain.istitle()):
        return before + str(token)
    return f"{before}{scheme} {MASK}"
