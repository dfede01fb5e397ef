"""`make debian`: the Debian guest's image to the cluster, and examples/vm-debian.yaml on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from localcluster import layout
from localcluster.progress import Failed, step
from scripts import install
from scripts.target import Target, references, target

EXAMPLE = Path(__file__).parent.parent / "examples" / "vm-debian.yaml"
NAME = "debian-guest"


def deliver(chosen: Target) -> str:
    """Builds the image and takes it to where the nodes find it; returns its reference."""
    how = "import" if chosen.local else "push"
    reference = references(how, NAME)[NAME]
    if chosen.local:
        install.tag_for_examples(reference)
    return reference


def main() -> int:
    try:
        chosen = target()
        reference = deliver(chosen)
    except Failed as failure:
        print(f"debian: {failure}", file=sys.stderr)
        return 1
    manifest = EXAMPLE.read_text(encoding="utf-8")
    named = f"virtpod.local/virtpod-debian-guest:{install.EXAMPLE_TAG}"
    with step("applying examples/vm-debian.yaml"):
        kubectl = [str(layout.BIN / "kubectl"), "--kubeconfig", chosen.kubeconfig]
        done = subprocess.run(
            [*kubectl, "apply", "-f", "-"],
            input=manifest.replace(named, named if chosen.local else reference),
            text=True,
            check=False,
        )
    print("virtctl console debian, or with your key in the manifest: virtctl ssh debian@vm/debian")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
