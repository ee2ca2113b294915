"""Plain Kubernetes manifests: what the chart gives for the values beside them.

python -m deploy.manifests        writes deploy/kubernetes/*.yaml; needs helm on the path
"""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
CHART = HERE / "helm" / "weighbridge"
VALUES_SUFFIX = ".values.yaml"
# The oldest that the chart accepts; without a cluster helm takes one of its own.
KUBERNETES = "1.27.0"


def template(*arguments: str) -> str:
    """What the chart gives, by helm. Raises CalledProcessError, whose stderr says why not."""
    command = ["helm", "template", "weighbridge", str(CHART), "--namespace", "weighbridge"]
    command += ["--kube-version", KUBERNETES, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def manifests() -> dict[Path, str]:
    """Every file of plain manifests with what must be in it."""
    found = {}
    for values in sorted((HERE / "kubernetes").glob(f"*{VALUES_SUFFIX}")):
        name = values.name.removesuffix(VALUES_SUFFIX)
        head = (
            f"# The chart's output for {values.name}, made by `python -m deploy.manifests`.\n"
            "#   kubectl create namespace weighbridge\n"
            f"#   kubectl apply -f deploy/kubernetes/{name}.yaml\n"
        )
        found[values.with_name(f"{name}.yaml")] = head + template("--values", str(values))
    return found


if __name__ == "__main__":
    for path, text in manifests().items():
        path.write_text(text, encoding="utf-8")
