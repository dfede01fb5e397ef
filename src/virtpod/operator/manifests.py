"""Writes the two files that a user applies: virtpod-operator.yaml and virtpod-cr.yaml.

python3 -m virtpod.operator.manifests --image REF --launcher-image REF [--output manifests]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import yaml

from virtpod.build import info
from virtpod.render.install import Options, kubevirt_cr, operator_manifests


def main() -> None:
    env = os.environ
    parser = argparse.ArgumentParser(prog="virtpod.operator.manifests", description=__doc__)
    parser.add_argument(
        "--image", default=env.get("VIRTPOD_IMAGE", "virtpod:latest"), help="of the components"
    )
    parser.add_argument(
        "--launcher-image", default=env.get("VIRT_LAUNCHER_IMAGE", "virt-launcher:latest")
    )
    parser.add_argument("--namespace", default="kubevirt")
    parser.add_argument("--version", default=env.get("VIRTPOD_VERSION") or info()["gitVersion"])
    parser.add_argument(
        "--pull-policy", default="IfNotPresent", choices=("Always", "IfNotPresent", "Never")
    )
    parser.add_argument("--image-volumes", default="auto", choices=("auto", "true", "false"))
    parser.add_argument("--replicas", type=int, default=1, help="of virt-operator")
    parser.add_argument(
        "--use-emulation", action="store_true", help="guests run without KVM where there is none"
    )
    parser.add_argument("--output", type=Path, default=Path("manifests"), help="a folder")
    args = parser.parse_args()
    configuration: dict[str, Any] = {"developerConfiguration": {"featureGates": []}}
    if args.use_emulation:
        configuration["developerConfiguration"]["useEmulation"] = True
    options = Options(
        image=args.image,
        launcher_image=args.launcher_image,
        namespace=args.namespace,
        version=args.version,
        pull_policy=args.pull_policy,
        image_volumes=args.image_volumes,
        replicas=args.replicas,
        configuration=configuration,
    )
    args.output.mkdir(parents=True, exist_ok=True)
    write(args.output / "virtpod-operator.yaml", operator_manifests(options))
    write(args.output / "virtpod-cr.yaml", [kubevirt_cr(options)])


def write(path: Path, manifests: list[dict[str, Any]]) -> None:
    """Left alone where nothing changed, so that make sees no news."""
    text = text_of(manifests)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def text_of(manifests: list[dict[str, Any]]) -> str:
    return yaml.dump_all(manifests, Dumper=_Plain, sort_keys=False, width=100)


class _Plain(yaml.SafeDumper):
    """Without anchors: people read these files."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


if __name__ == "__main__":
    main()
