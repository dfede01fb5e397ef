"""`make manifests`: the two files that install Virtpod by `kubectl apply -f`."""

from __future__ import annotations

from pathlib import Path

from scripts.install import choices
from scripts.target import references
from virtpod.cli import _installation
from virtpod.render import install

FOLDER = Path("manifests")


def main() -> None:
    options = choices(references())
    FOLDER.mkdir(exist_ok=True)
    for name, objects in {
        "virtpod-operator.yaml": install.operator_manifests(options),
        "virtpod-cr.yaml": [install.kubevirt_cr(options)],
    }.items():
        (FOLDER / name).write_text(_installation.written(objects))
        print(FOLDER / name)


if __name__ == "__main__":
    main()
