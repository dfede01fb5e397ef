"""Real libvirt, real QEMU, the launcher's own image; needs root and network namespaces."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guest.pod import NAME, NAMESPACE, UID, Container, container, demo_guest, image
from tests.kube.fake import json_patch
from virtpod.api.kubevirt import DeveloperConfiguration, KubeVirtConfiguration
from virtpod.domain.facts import Cluster
from virtpod.features.gates import resolve
from virtpod.render import admit

MACHINE = "5d307ca9-b3ef-428c-8861-06e72d69f223"
VMI = f"""
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {{name: {NAME}, namespace: {NAMESPACE}, uid: {UID}}}
spec:
  domain:
    memory: {{guest: 128Mi}}
    devices:
      disks:
        - name: root
          disk: {{bus: virtio}}
        - name: cloudinit
          disk: {{bus: virtio}}
      interfaces:
        - name: default
          masquerade: {{}}
  networks:
    - name: default
      pod: {{}}
  volumes:
    - name: root
      containerDisk: {{image: "demo:1"}}
    - name: cloudinit
      cloudInitNoCloud:
        userData: |
          #cloud-config
          hostname: from-cloud-init
          password: demo
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.guest)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="containers are made by root"))


@pytest.fixture(scope="session")
def folders() -> tuple[Path, ...]:
    return image()


@pytest.fixture(scope="session")
def disk() -> Path:
    """The demo guest's image."""
    return demo_guest()


@pytest.fixture(scope="session")
def cache(folders: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """libvirt's capability cache of this host, by the launcher's own probe, made once."""
    with container(folders) as made:
        made.start("/usr/bin/virt-launcher", "--probe", "/run/probe", user=0)
        made.wait(60)
        found = made.run / "probe" / "tcg" / "cache"
        return {path.name: path.read_bytes() for path in found.iterdir()}


@pytest.fixture
def box(folders: tuple[Path, ...], disk: Path) -> Iterator[Container]:
    """A container with the demo guest's image mounted where the VMI's first volume is."""
    with container(folders) as made:
        made.volume(0, disk)
        yield made


@pytest.fixture
def box_of(
    folders: tuple[Path, ...], disk: Path
) -> Callable[[], AbstractContextManager[Container]]:
    """One such container after the other."""

    @contextmanager
    def another() -> Iterator[Container]:
        with container(folders) as made:
            made.volume(0, disk)
            yield made

    return another


@pytest.fixture
def vmi() -> dict[str, Any]:
    """The demo VMI as admission makes it."""
    return admitted(yaml.safe_load(VMI))


@pytest.fixture
def empty(vmi: dict[str, Any]) -> dict[str, Any]:
    """A VMI without disks: it stays in its firmware, and is there at once."""
    spec = vmi["spec"]
    spec["volumes"] = []
    spec["domain"]["devices"]["disks"] = []
    spec["domain"]["memory"]["guest"] = "16Mi"
    return vmi


def admitted(raw: dict[str, Any], *gates: str) -> dict[str, Any]:
    """As admission lets it in, where guests are emulated and images are mounted as volumes."""
    config = KubeVirtConfiguration(
        developer_configuration=DeveloperConfiguration(
            use_emulation=True, feature_gates=list(gates)
        )
    )
    cluster = Cluster(config=config, gates=resolve(config), image_volumes=True)
    answer = admit.vmi(raw, cluster, now="2026-01-01T00:00:00Z", uuid=MACHINE)
    assert not answer.causes, answer.causes
    return json_patch(raw, answer.patch)
