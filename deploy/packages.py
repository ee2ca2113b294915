"""The Python packages that the image holds, and under which licences: read from the environment this runs in."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "weighbridge"
# What the image and `make install` install of ours; the engine by itself, without what its metadata asks for.
EXTRAS = ("demo", "kafka", "compression")
ENGINE = "chdb-core"

# Licences that may be in the image: none asks for more than its text and notices beside a program that only uses it.
# MPL-2.0 asks for the source of its own files, which are used as published.
ACCEPTED = frozenset(
    ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "PSF-2.0", "Unlicense", "0BSD")
)
# Old words for them, in the `License` field or as a classifier.
_WORDS = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd license": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}


def installed() -> dict[str, importlib.metadata.Distribution]:
    """Every package that the bridge needs here, by its canonical name; the bridge itself is not among them.

    Raises PackageNotFoundError for one that is not installed.
    """
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [*_required(importlib.metadata.distribution(ROOT), EXTRAS)]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in found:
            found[name] = importlib.metadata.distribution(requirement.name)
            waiting += _required(found[name], tuple(requirement.extras))
    found[ENGINE] = importlib.metadata.distribution(ENGINE)
    return dict(sorted(found.items()))


def _required(distribution: importlib.metadata.Distribution, extras: tuple[str, ...]) -> Iterator[Requirement]:
    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def licence(distribution: importlib.metadata.Distribution) -> str:
    """Its licence as SPDX has it, as far as it says so; "" when it says nothing."""
    metadata = distribution.metadata
    if expression := metadata.json.get("license_expression"):
        return str(expression)
    classifiers = [text.rpartition(":: ")[2] for text in metadata.get_all("Classifier") or [] if "License ::" in text]
    said = [str(metadata.json.get("license") or "").partition("\n")[0], *classifiers]
    words = (_WORDS.get(text.strip().lower(), text.strip()) for text in said)
    return " AND ".join(dict.fromkeys(word for word in words if word))


def accepted(expression: str) -> bool:
    """Whether every licence that a licence expression names may be in the image; of an OR one is enough."""
    flat = re.sub(r"\(([^()]*)\)", lambda inner: "MIT" if accepted(inner[1]) else "refused", expression)
    return all(any(one in ACCEPTED for one in part.split(" OR ")) for part in flat.split(" AND "))
