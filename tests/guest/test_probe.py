"""The node's description, made once by the launcher's image as virt-handler's init container."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.guest.pod import QEMU, Container, connected, container
from virtpod.domain import paths
from virtpod.node.labels import deprecated_machines
from virtpod.node.probe import Probe
from virtpod.wire.messages import Done

CACHE = f"{paths.PRIVATE}/libvirt/qemu/cache/capabilities"


def probe(made: Container) -> Probe:
    made.start("/usr/bin/virt-launcher", "--probe", "/run/probe", user=0)
    assert made.wait(60) == 0
    return Probe(made.run / "probe")


def domain_type(text: str) -> str | None:
    return ElementTree.fromstring(text).findtext("domain")


def test_a_node_without_kvm_has_the_one_description(folders: tuple[Path, ...]) -> None:
    with container(folders) as made:
        found = probe(made)
        assert domain_type(found.text(True, "domcapabilities.xml")) == "qemu"
        deprecated = deprecated_machines(found.text(True, "capabilities.xml"))
        assert any(each.startswith("pc-") for each in deprecated)
        assert "q35" not in deprecated
        assert found.capabilities(emulation=True)
        assert found.capabilities(emulation=False) == {}
        known = made.run / "probe" / "qemu.json"
        assert json.loads(known.read_text())["variants"] == ["tcg"]


def test_a_known_build_is_not_described_again(folders: tuple[Path, ...]) -> None:
    with container(folders) as made:
        probe(made)
        (made.run / "probe" / "tcg" / "domcapabilities.xml").write_text("kept")
        assert probe(made).text(True, "domcapabilities.xml") == "kept"
        (made.run / "probe" / "qemu.json").write_text('{"bui')  # the node went down meanwhile
        assert domain_type(probe(made).text(True, "domcapabilities.xml")) == "qemu"


@pytest.mark.skipif(not Path("/dev/kvm").exists(), reason="needs /dev/kvm")
async def test_with_kvm_launchers_of_both_kinds_believe_the_nodes_cache(
    folders: tuple[Path, ...], empty: dict[str, Any]
) -> None:
    with container(folders, kvm=True) as made:
        found = probe(made)
        assert domain_type(found.text(False, "domcapabilities.xml")) == "kvm"
        caches = {kvm: found.capabilities(emulation=not kvm) for kvm in (False, True)}
    for kvm, cache in caches.items():
        with container(folders, kvm=kvm) as made:
            made.launch()
            async with connected(made, cache) as handler:
                assert isinstance(await handler.sync(empty), Done)
                # A cache that libvirt does not believe is written anew.
                kept = made.inside(CACHE).iterdir()
                assert {file.name: file.read_bytes() for file in kept} == cache
                (qemu,) = made.processes(QEMU)
                assert os.sched_getaffinity(qemu) == os.sched_getaffinity(0)
