"""Node labels from what libvirt says, and how they are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.kube.fake import FakeCluster
from virtpod.kube.resources import NODES
from virtpod.node import heartbeat
from virtpod.node.labels import deprecated_machines, difference, labels, obsolete

CAPABILITIES = """
<capabilities>
  <host>
    <cpu><arch>x86_64</arch><counter name='tsc' frequency='2600000000' scaling='no'/></cpu>
  </host>
  <guest><arch name='i686'><machine>isapc</machine></arch></guest>
  <guest>
    <arch name='x86_64'>
      <machine canonical='pc-q35-10.0' maxCpus='4096'>q35</machine>
      <machine maxCpus='255'>pc-q35-9.2</machine>
      <domain type='kvm'><machine>microvm</machine></domain>
    </arch>
  </guest>
</capabilities>
"""
DOMAIN = """
<domainCapabilities>
  <arch>x86_64</arch>
  <cpu>
    <mode name='host-model' supported='yes'>
      <model fallback='forbid'>Skylake-Server</model>
      <vendor>Intel</vendor>
      <feature policy='require' name='vmx'/>
      <feature policy='disable' name='mpx'/>
    </mode>
    <mode name='custom' supported='yes'>
      <model usable='yes' vendor='Intel'>Penryn</model>
      <model usable='no' vendor='AMD'>EPYC</model>
    </mode>
  </cpu>
  <features>
    <hyperv supported='yes'><enum name='features'><value>stimer</value></enum></hyperv>
  </features>
</domainCapabilities>
"""
OLD = CAPABILITIES.replace("maxCpus='255'", "maxCpus='255' deprecated='yes'")
ALL = {
    "machine-type.node.kubevirt.io/q35": "true",
    "machine-type.node.kubevirt.io/pc-q35-10.0": "true",
    "machine-type.node.kubevirt.io/pc-q35-9.2": "true",
    "machine-type.node.kubevirt.io/microvm": "true",
    "cpu-timer.node.kubevirt.io/tsc-scalable": "false",
    "cpu-timer.node.kubevirt.io/tsc-frequency": "2600000000",
    "scheduling.node.kubevirt.io/tsc-frequency-2600000000": "true",
    "cpu-model.node.kubevirt.io/Penryn": "true",
    "cpu-model-migration.node.kubevirt.io/Penryn": "true",
    "cpu-model-migration.node.kubevirt.io/Skylake-Server": "true",
    "host-model-cpu.node.kubevirt.io/Skylake-Server": "true",
    "host-model-required-features.node.kubevirt.io/vmx": "true",
    "cpu-feature.node.kubevirt.io/vmx": "true",
    "cpu-vendor.node.kubevirt.io/Intel": "true",
    "hyperv.node.kubevirt.io/synictimer": "true",
    "kubevirt.io/vm-arch-amd64": "true",
}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_libvirt_says_becomes_labels() -> None:
    assert labels(DOMAIN, CAPABILITIES) == ALL


def test_nothing_said_is_no_labels() -> None:
    assert labels("", "") == {}


@pytest.mark.parametrize("text", ["<a", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"])
def test_what_is_no_plain_xml_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="capabilities"):
        labels(text, "")


def test_names_that_no_label_may_have_are_left_out() -> None:
    odd = DOMAIN.replace("Penryn", "no such/model")
    assert "cpu-vendor.node.kubevirt.io/Intel" in labels(odd, "")
    assert not [name for name in labels(odd, "") if "such" in name]


def test_only_ours_are_taken_away() -> None:
    have = {
        "kubernetes.io/hostname": "n",
        "cpu-model.node.kubevirt.io/Old": "true",
        "cpu-vendor.node.kubevirt.io/Intel": "true",
    }
    wanted = {"cpu-vendor.node.kubevirt.io/Intel": "true", "kubevirt.io/schedulable": "true"}
    assert difference(have, wanted) == {
        "kubevirt.io/schedulable": "true",
        "cpu-model.node.kubevirt.io/Old": None,
    }


def node(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "node1", **metadata}}


def test_a_node_that_nobody_described_keeps_its_labels() -> None:
    body = heartbeat.patch(
        node(labels={"cpu-model.node.kubevirt.io/X": "true"}), {}, True, False, NOW
    )
    assert body["metadata"]["labels"] == {
        "kubevirt.io/schedulable": "true",
        "kubevirt.io/cpumanager": "false",
    }
    assert body["metadata"]["annotations"] == {"kubevirt.io/heartbeat": "2026-01-01T00:00:00Z"}


def test_a_node_may_have_cpus_to_give() -> None:
    body = heartbeat.patch(node(), ALL, True, True, NOW)
    assert body["metadata"]["labels"]["kubevirt.io/cpumanager"] == "true"


def test_an_administrator_may_label_a_node_by_hand() -> None:
    skipped = node(annotations={"node-labeller.kubevirt.io/skip-node": "true"})
    body = heartbeat.patch(skipped, ALL, True, False, NOW)
    assert set(body["metadata"]["labels"]) == {"kubevirt.io/schedulable", "kubevirt.io/cpumanager"}


async def shared() -> bool:
    """A kubelet that gives nobody CPUs of his own."""
    return False


async def able() -> dict[str, str]:
    return ALL


async def test_the_first_heartbeat_says_all_in_one_patch() -> None:
    async with FakeCluster() as cluster, cluster.client("virt-handler") as client:
        cluster.put(NODES, node(labels={"cpu-model.node.kubevirt.io/Old": "true"}))
        beat = heartbeat.Heartbeat(client, "node1", able, lambda: True, shared)
        await beat.beat()
        found = cluster.get(NODES, "", "node1")["metadata"]["labels"]
        assert found == {
            **ALL,
            "kubevirt.io/schedulable": "true",
            "kubevirt.io/cpumanager": "false",
        }
        assert len(cluster.writes) == 1
        await beat.beat()
        assert len(cluster.writes) == 2
        await beat.stop()
        labelled = cluster.get(NODES, "", "node1")["metadata"]["labels"]
        assert labelled["kubevirt.io/schedulable"] == "false"


async def test_what_somebody_took_away_comes_back() -> None:
    async with FakeCluster() as cluster, cluster.client("virt-handler") as client:
        cluster.put(NODES, node())
        beat = heartbeat.Heartbeat(client, "node1", able, lambda: True, shared)
        await beat.beat()
        cluster.put(NODES, node(labels={}))
        await beat.beat()
        assert (
            "cpu-model.node.kubevirt.io/Penryn"
            in cluster.get(NODES, "", "node1")["metadata"]["labels"]
        )


async def test_a_condition_of_the_node_changes_over_when_its_status_does() -> None:
    since = "2026-01-01T00:00:00Z"
    other = {"type": "Ready", "status": "True", "lastTransitionTime": since}
    old = {"type": "HostDevicesOffered", "status": "False", "lastTransitionTime": since}
    async with FakeCluster() as cluster, cluster.client("virt-handler") as client:
        cluster.put(NODES, {**node(), "status": {"conditions": [other]}})

        async def told(*complaints: str) -> dict[str, str]:
            await beat.condition("HostDevicesOffered", complaints)
            ready, said = cluster.get(NODES, "", "node1")["status"]["conditions"]
            assert ready == other
            return dict(said)

        beat = heartbeat.Heartbeat(client, "node1", able, lambda: True, shared)
        assert (await told("one"))["lastTransitionTime"] > since
        cluster.put(NODES, {**node(), "status": {"conditions": [other, old]}})
        for complaints in (("one",), ("one", "two")):
            said = await told(*complaints)
            assert (said["message"], said["lastTransitionTime"]) == ("; ".join(complaints), since)
            assert said["lastHeartbeatTime"] > since
        said = await told()
        assert (said["status"], said["reason"], said["message"]) == ("True", "AsConfigured", "")
        assert said["lastTransitionTime"] > since


def test_machine_types_that_qemu_drops_are_told() -> None:
    elsewhere = OLD.replace("<machine>isapc", "<machine deprecated='yes'>isapc")
    assert deprecated_machines(elsewhere) == ("pc-q35-9.2",)
    assert deprecated_machines(CAPABILITIES) == deprecated_machines("") == ()


@pytest.mark.configures("configuration.obsoleteCPUModels")
def test_models_that_are_obsolete_are_not_offered() -> None:
    def offered(**given: bool) -> bool:
        found = labels(DOMAIN.replace("Penryn", "core2duo"), "", obsolete(given))
        return "cpu-model.node.kubevirt.io/core2duo" in found

    assert not offered()
    assert offered(core2duo=False)
    assert not offered(core2duo=True)
    assert "cpu-model.node.kubevirt.io/Penryn" in labels(DOMAIN, "", obsolete({}))
    assert "cpu-model.node.kubevirt.io/Penryn" not in labels(DOMAIN, "", obsolete({"Penryn": True}))
