"""Where a file of the project is: in the checkout, or, when the built wheel is tested, where it was installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TESTDATA = ROOT / "tests" / "testdata"
PACKAGES = ("receiver", "mapping", "exporter", "weighbridge")


def project_file(relative: str) -> Path:
    """The path of a file or folder that is named relative to the project's top level."""
    first, _, rest = relative.removeprefix("./").partition("/")
    spec = find_spec(first) if first in PACKAGES else None
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]) / rest
    return ROOT / relative
