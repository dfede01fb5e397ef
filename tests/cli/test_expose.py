"""virtctl expose and configuration permitted-devices."""

from __future__ import annotations

from typing import Any

import pytest

from virtpod.cli import __main__ as cli
from virtpod.cli import configuration_permitted_devices, expose
from virtpod.cli.session import Failure

Json = dict[str, Any]
LABELS = {"app": "web"}
PORTS = [{"port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
INSTANCE = {"domain": {"devices": {"interfaces": [{"name": "default", "ports": PORTS}]}}}
VM = {
    "metadata": {"name": "demo"},
    "spec": {"template": {"metadata": {"labels": LABELS}, "spec": INSTANCE}},
}


def made(kind: str, found: Json, *words: str) -> Json:
    parser = cli.parser_for(["expose"])
    args = parser.parse_args([kind, "demo", "--name", "front", *words])
    known, _ = expose._resource(args.kind)
    service = expose.service(args, known, found, "team")
    assert service["metadata"] == {"name": "front", "namespace": "team"}
    spec: Json = service["spec"]
    return spec


def test_a_service_finds_the_pods_of_a_machine() -> None:
    spec = made("vm", VM, "--port", "8080", "--target-port", "http", "--port-name", "web")
    assert spec == {
        "type": "ClusterIP",
        "selector": LABELS,
        "ports": [{"name": "web", "protocol": "TCP", "port": 8080, "targetPort": "http"}],
    }
    bare = {"metadata": {"name": "demo"}, "spec": {"template": {"spec": INSTANCE}}}
    assert made("vm", bare)["selector"] == {"vm.kubevirt.io/name": "demo"}
    vmi = {
        "metadata": {"name": "demo", "labels": {**LABELS, "kubevirt.io/nodeName": "node1"}},
        "spec": INSTANCE,
    }
    assert made("VirtualMachineInstance", vmi)["selector"] == LABELS
    replicas = {
        "metadata": {"name": "demo"},
        "spec": {"selector": {"matchLabels": LABELS}, "template": {"spec": INSTANCE}},
    }
    assert made("vmirs", replicas)["selector"] == LABELS


def test_ports_are_those_that_the_interfaces_name() -> None:
    assert made("vm", VM)["ports"] == [
        {"name": "port-1", "protocol": "TCP", "port": 80, "targetPort": 80},
        {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53},
    ]


def test_what_else_a_service_has() -> None:
    words = ("--port", "53", "--protocol", "UDP", "--type", "NodePort", "--external-ip", "10.0.0.1")
    spec = made("vm", VM, *words, "--cluster-ip", "None", "--ip-family", "IPv6,IPv4")
    assert spec["ports"] == [{"protocol": "UDP", "port": 53, "targetPort": 53}]
    assert (spec["type"], spec["clusterIP"]) == ("NodePort", "None")
    assert spec["externalIPs"] == ["10.0.0.1"]
    assert spec["ipFamilies"] == ["IPv6", "IPv4"]
    assert spec["ipFamilyPolicy"] == "PreferDualStack"


@pytest.mark.parametrize(
    ("kind", "found", "told"),
    [
        ("pod", VM, 'unsupported resource type "pod"'),
        ("vmi", {"metadata": {"name": "demo"}, "spec": INSTANCE}, "has no labels"),
        ("vm", {**VM, "spec": {"template": {"metadata": {"labels": LABELS}}}}, "which port"),
        (
            "vmirs",
            {"metadata": {"name": "a"}, "spec": {"selector": {"matchExpressions": [{}]}}},
            "has no expressions",
        ),
    ],
)
def test_what_cannot_be_is_told(kind: str, found: Json, told: str) -> None:
    with pytest.raises(Failure, match=told):
        made(kind, found)


def test_permitted_devices_are_listed() -> None:
    permitted = {
        "pciHostDevices": [
            {"pciVendorSelector": "8086:1", "resourceName": "intel.com/b"},
            {"pciVendorSelector": "8086:2", "resourceName": "intel.com/a"},
            {"pciVendorSelector": "8086:3", "resourceName": "intel.com/a"},
        ],
        "usb": [{"resourceName": "example.org/stick", "selectors": []}],
    }
    spec = {"configuration": {"permittedHostDevices": permitted}}
    assert configuration_permitted_devices.text({"spec": spec}) == (
        "PCI devices:\n  intel.com/a\n  intel.com/b\nmediated devices:\n  none\n"
        "USB devices:\n  example.org/stick\n"
    )
    assert configuration_permitted_devices.text({}).count("none") == 3
