"""The profile that virt-handler puts where the kubelet looks."""

from __future__ import annotations

import json
import os
from pathlib import Path

from virtpod.domain.seccomp import PROFILE, profile
from virtpod.node import seccomp


def test_it_is_there_whole_and_written_once(tmp_path: Path) -> None:
    seccomp.install(tmp_path)
    place = tmp_path / PROFILE
    assert json.loads(place.read_text()) == profile(os.uname().machine)
    before = place.stat().st_mtime_ns
    seccomp.install(tmp_path)
    assert place.stat().st_mtime_ns == before
    place.write_text("an older one")
    seccomp.install(tmp_path)
    assert json.loads(place.read_text())["defaultAction"] == "SCMP_ACT_ALLOW"
    assert [each.name for each in place.parent.iterdir()] == [place.name]


def test_namespaces_can_be_made_but_for_networks() -> None:
    rules = profile("x86_64")["syscalls"]
    plain = {name for rule in rules if "args" not in rule for name in rule["names"]}
    assert not plain & {"unshare", "clone", "mount", "umount2", "pivot_root"}
    assert {"bpf", "keyctl", "io_uring_setup", "setns", "clone3"} <= plain
    [network] = [rule for rule in rules if "args" in rule]
    assert network["names"] == ["unshare", "clone"]
    assert network["args"][0]["value"] == 0x40000000
