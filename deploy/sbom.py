"""The bill of materials of the image as CycloneDX JSON: `make sbom`.

    python -m deploy.sbom ENVIRONMENT.json > weighbridge.cdx.json

ENVIRONMENT.json is what cyclonedx-py (PyPI: cyclonedx-bom) says of the environment this runs in. What only tests and
checks need is taken out: what is left is what the image installs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from deploy.packages import ROOT, installed


def shipped(bom: dict[str, Any]) -> dict[str, Any]:
    """The bill without the components that the bridge does not need, and without what depends on them."""
    names = set(installed())
    components = [one for one in bom["components"] if canonicalize_name(one["name"]) in names]
    missing = names - {canonicalize_name(one["name"]) for one in components}
    if missing:
        raise ValueError(f"the bill knows nothing of {', '.join(sorted(missing))}: it is of another environment")
    root = bom["metadata"]["component"]["bom-ref"]
    kept = {root, *(one["bom-ref"] for one in components)}
    dependencies = [
        {**one, "dependsOn": [ref for ref in one.get("dependsOn", ()) if ref in kept]}
        for one in bom["dependencies"]
        if one["ref"] in kept
    ]
    return {**bom, "components": components, "dependencies": dependencies}


def main(path: str) -> None:
    bom = json.loads(Path(path).read_text(encoding="utf-8"))
    if bom["metadata"]["component"]["name"] != ROOT:
        raise ValueError(f"{path} is not the bill of {ROOT}")
    print(json.dumps(shipped(bom), indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
