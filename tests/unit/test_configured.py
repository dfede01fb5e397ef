"""Settings of the KubeVirt object whose effect no golden case shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from virtpod.api.instancetype import (
    CPUInstancetype,
    MemoryInstancetype,
    VirtualMachineInstancetypeSpec,
)
from virtpod.api.kubevirt import KubeVirt, KubeVirtConfiguration
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers import instancetype
from virtpod.domain import paths
from virtpod.domain.facts import Cluster
from virtpod.features.machine import state
from virtpod.installation import Container, Installation, project, verbosity
from virtpod.launcher import claims, log
from virtpod.render import common_instancetypes
from virtpod.render.expand import Choice


def kubevirt(**configuration: Any) -> KubeVirt:
    return msgspec.convert({"metadata": {}, "spec": {"configuration": configuration}}, KubeVirt)


def cluster(**configuration: Any) -> Cluster:
    return Cluster(msgspec.convert(configuration, KubeVirtConfiguration))


@pytest.mark.configures(
    "configuration.imagePullPolicy", "configuration.architectureConfiguration.defaultArchitecture"
)
def test_a_component_takes_in_what_the_object_says_and_keeps_the_last_that_it_could_read() -> None:
    installation = Installation(Container("kubevirt", "pod", "launcher:1", True))
    usual = installation.cluster
    assert usual.image_pull_policy == "IfNotPresent"
    arm = {"defaultArchitecture": "arm64"}
    installation.changed(kubevirt(imagePullPolicy="Always", architectureConfiguration=arm))
    assert installation.cluster.image_pull_policy == "Always"
    assert installation.cluster.architecture == "arm64"
    newer = b'{"metadata": {}, "spec": {"configuration": {"imagePullPolicy": 7}}}'
    installation.changed(project(newer))
    assert installation.cluster.image_pull_policy == "Always"
    installation.changed(kubevirt())
    assert installation.cluster == usual


COMPONENTS = {
    "virtAPI": "virt_api",
    "virtController": "virt_controller",
    "virtHandler": "virt_handler",
    "virtOperator": "virt_operator",
}


@pytest.mark.configures("configuration.developerConfiguration.logVerbosity.virt*")
@pytest.mark.parametrize("name", COMPONENTS)
def test_each_component_has_a_verbosity_of_its_own(name: str) -> None:
    told = kubevirt(developerConfiguration={"logVerbosity": {name: 6}})
    assert {verbosity(told, each) for each in COMPONENTS.values()} == {6, None}
    assert verbosity(told, COMPONENTS[name]) == 6


@pytest.mark.parametrize(("level", "lines"), [("0", 1), ("", 2), ("2", 2), ("9", 2)])
def test_a_launcher_that_is_to_be_quiet_tells_of_errors_only(
    level: str, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(paths.VERBOSITY_ENV, level)
    log.log("the guest runs")
    log.log("it does not", error="no memory")
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_what_is_kept_free_is_what_the_cluster_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert claims.reserve() == 131072
    monkeypatch.setenv(paths.RESERVE, str(2**62))
    with pytest.raises(claims.ClaimInvalid):
        claims.make(str(tmp_path), paths.DISK_FILE, 2**20, 2**20)


@pytest.mark.configures("configuration.vmStateStorageClass")
def test_the_state_of_tpm_and_efi_is_kept_where_the_cluster_says() -> None:
    vmi = msgspec.convert(
        {"metadata": {"name": "vm", "uid": "u"}, "spec": {"domain": {"devices": {}}}},
        VirtualMachineInstance,
    )
    assert "storageClassName" not in state.claim(vmi, cluster())["spec"]
    made = state.claim(vmi, cluster(vmStateStorageClass="fast"))
    assert made["spec"]["storageClassName"] == "fast"


@pytest.mark.configures("configuration.instancetype.referencePolicy")
@pytest.mark.parametrize(
    ("policy", "pinned", "so"),
    [
        (None, False, False),
        ("reference", False, False),
        ("expand", False, True),
        ("expand", True, False),
        ("expandAll", True, True),
    ],
)
def test_vms_go_on_referring_to_instance_types_or_do_not(
    policy: str | None, pinned: bool, so: bool
) -> None:
    matcher = {"name": "small", **({"revisionName": "r"} if pinned else {})}
    vm = {"spec": {"instancetype": matcher}}
    config = {"instancetype": {"referencePolicy": policy}} if policy else {}
    small = VirtualMachineInstancetypeSpec(
        cpu=CPUInstancetype(guest=1), memory=MemoryInstancetype(guest="64Mi")
    )
    chosen = instancetype.Chosen(Choice(instancetype=small))
    assert instancetype.inlined(vm, chosen, cluster(**config)) is so


@pytest.mark.configures("configuration.commonInstancetypesDeployment.*")
def test_the_common_instance_types_are_there_unless_they_are_not_wanted() -> None:
    def wanted(**given: bool) -> bool:
        deployment = {"commonInstancetypesDeployment": given}
        return common_instancetypes.wanted({"spec": {"configuration": deployment}})

    assert wanted()
    assert wanted(enabled=True)
    assert not wanted(enabled=False)
