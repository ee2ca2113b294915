"""Values that give themselves away: card numbers, mail addresses, IBANs, tokens (spec/mapping.md §7; if asked for).

Check digits are reckoned by hand, a line each: python-stdnum takes four times as long for an IBAN, and passes over
those of countries that it does not know, which would then leave unmasked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from mapping.masks.mask import MASK

_EMAIL = re.compile(r"[A-Za-z0-9._%+'\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.){1,8}[A-Za-z]{2,24}")
# Cards begin with 2 to 6; times in nanoseconds, which have as many digits, with 1.
_DIGITS = re.compile(r"(?<![\d.\-])[2-6](?:[ \-]?\d){12,18}(?![\d\-])", re.ASCII)
_IBAN = re.compile(r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?![A-Z0-9])", re.ASCII)
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*"  # JWT
    r"|(?<![A-Za-z0-9])(?:(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{8,}"  # Stripe
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|glpat-[A-Za-z0-9_\-]{16,}|xox[abprs]-[A-Za-z0-9\-]{10,}|AKIA[A-Z0-9]{16}|AIza[A-Za-z0-9_\-]{30,})"
    r"|(?i:(?<![a-z])(?:bearer|basic) +)[A-Za-z0-9+/=._~\-]{8,}"
)


def luhn(digits: str) -> bool:
    """True when the check digit of a card number fits (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (2 if place % 2 else 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def iban(text: str) -> bool:
    """True when the check digits of an IBAN without blanks fit (ISO 13616: the rearranged number is 1 modulo 97)."""
    return 15 <= len(text) <= 34 and int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def hider(names: Iterable[str]) -> Callable[[str], str] | None:
    """A function that hides values of the named kinds (email, pan, iban, token) in a text; None for no kinds."""
    known: dict[str, Callable[[str], str]] = {"token": _tokens, "email": _emails, "iban": _ibans, "pan": _pans}
    steps = [step for name, step in known.items() if name in set(names)]
    if not steps:
        return None

    def hide(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return hide


def _tokens(text: str) -> str:
    return _TOKEN.sub(MASK, text)


def _emails(text: str) -> str:
    return _EMAIL.sub(MASK, text) if "@" in text else text


def _ibans(text: str) -> str:
    return _IBAN.sub(lambda found: _iban_hidden(found[0]), text)


def _iban_hidden(found: str) -> str:
    # Words may follow an IBAN after a blank: the longest prefix with right check digits is the account.
    for end in range(len(found), 14, -1):
        if found[end - 1] != " " and iban(found[:end].replace(" ", "")):
            return MASK + found[end:]
    return found


def _pans(text: str) -> str:
    return _DIGITS.sub(lambda found: MASK if luhn(re.sub(r"[ \-]", "", found[0])) else found[0], text)
