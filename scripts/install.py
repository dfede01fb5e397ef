"""`make install`: images to the cluster, manifests applied, and wait until all is available."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from typing import Any

from localcluster import cluster as embedded
from localcluster import layout, state
from localcluster.progress import Failed, say, step
from scripts import kvm
from scripts.target import Target, module, references, target
from virtpod.cli import _installation
from virtpod.cli.session import Failure
from virtpod.kube import apply
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.errors import NotFound
from virtpod.kube.resources import KUBEVIRTS
from virtpod.render import install

NAMESPACE = "kubevirt"
GUESTFS = "libguestfs-tools"
"""Delivered where the environment says GUESTFS=1: it takes long to make and is large."""
EXAMPLE_TAG = "v0.1.0"
"""The tag by which the examples name the demo guest."""


async def run(chosen: Target) -> None:
    """Installs Virtpod, or brings an installation up to date. Raises Failed."""
    images = deliver(chosen)
    async with Client(Config.from_kubeconfig(chosen.kubeconfig), component="install") as client:
        options = choices(images)
        await apply.all(client, install.operator_manifests(options), manager="install")
        configuration = await _configuration(client, images)
        if configuration is not None:
            options = replace(options, configuration=configuration)
            await apply.all(client, [install.kubevirt_cr(options)], manager="install")
        with step("waiting until Virtpod is available"):
            await _installation.available(client, options, say)


def choices(images: dict[str, str]) -> install.Options:
    """An installation of just these images; its version tells them from any others."""
    image, launcher = images["virtpod"], images["virt-launcher"]
    version = install.version_of(f"v{metadata.version('virtpod')}", image, launcher)
    return install.Options(
        image=image,
        launcher_image=launcher,
        guestfs_image=images.get(GUESTFS, ""),
        version=version,
    )


def deliver(chosen: Target) -> dict[str, str]:
    """Builds the images and takes them to where the nodes find them; returns their references."""
    how = "import" if chosen.local else "push"
    images = references(how)
    if os.environ.get("GUESTFS"):
        images |= references(how, GUESTFS)
    if chosen.local:
        tag_for_examples(images["demo-guest"])
    return images


def tag_for_examples(reference: str) -> None:
    name = reference.rpartition(":")[0]
    for node in state.load().nodes:
        tag = [str(layout.BIN / "ctr"), "-n", "k8s.io", "images", "tag", "--force", reference]
        command = embedded.within(node.name, [*tag, f"{name}:{EXAMPLE_TAG}"])
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


async def _configuration(client: Client, images: dict[str, str]) -> dict[str, Any] | None:
    """What the KubeVirt object is to say; None where it is there already."""
    try:
        await client.get(KUBEVIRTS, (NAMESPACE, "kubevirt"))
    except NotFound:
        pass
    else:
        return None
    with step("trying whether KVM boots a stock kernel here"):
        works = await kvm.boots(client, NAMESPACE, images["virt-launcher"], images["demo-guest"])
    say("guests run by KVM" if works else "KVM does not boot a stock kernel here: useEmulation")
    return {
        "developerConfiguration": {"useEmulation": not works},
        "network": {"defaultNetworkInterface": "masquerade"},
    }


def main() -> int:
    try:
        chosen = target()
        if chosen.local:
            module("localcluster", "up", "--nodes", os.environ.get("NODES", "1"))
        asyncio.run(run(chosen))
    except (Failed, Failure) as failure:
        print(f"install: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
