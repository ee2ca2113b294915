"""The words that stand in place of what is hidden."""

from __future__ import annotations

from typing import Final

MASK: Final = "[REDACTED]"
QUERY_MASK: Final = "REDACTED"  # in URLs, where brackets would have to be encoded
