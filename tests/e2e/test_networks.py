"""Networks beside the pod's, by Multus; bindings that others supply; and a hook that is a script.

Two guests on one node, joined by two networks that no address is on but their own.
"""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from images import catalogue, deliver, layers, oci
from localcluster import cluster, networks
from tests.e2e.support import (
    SYSTEM,
    Console,
    Namespace,
    Object,
    Refused,
    available,
    bare,
    condition,
    conditions,
    kubectl,
    kubevirt,
    on_node,
    vm,
    vmi,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NODE = "node1"
PREFIX = "virtpod.local"
BRIDGES = "e2e-red e2e-green e2e-lan e2e-blue"
BINARY = "/opt/cni/bin/test-tap"
# A CNI plugin that gives the guest a tap device of its own, in a bridge with the pod's link.
CNI_PLUGIN = r"""#!/bin/sh
set -eu
config=$(cat)
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}' ;;
ADD)
    network=$(echo "$config" | sed -n 's/.*"logicNetworkName": *"\([^"]*\)".*/\1/p')
    hash=$(printf %s "$network" | sha256sum | cut -c1-11)
    exec 3>&1 1>&2
    inside() { nsenter --net="$CNI_NETNS" "$@"; }
    inside ip link add "by-plugin" type bridge
    inside ip tuntap add "tap$hash" mode tap user 107
    for link in "tap$hash" "pod$hash"; do inside ip link set "$link" master by-plugin up; done
    inside ip link set by-plugin up
    echo '{"cniVersion":"1.0.0","interfaces":[{"name":"by-plugin"}]}' >&3
    ;;
esac
"""
LISTENS = """
import socket
listening = socket.create_server(("10.244.1.1", 0))
print(*listening.getsockname())
spoken, _ = listening.accept()
for line in spoken.makefile():
    print(line, end="")
"""
SCRIPT = """#!/bin/sh
# sidecar-shim: --vmi JSON --domain XML
echo "$4" | sed 's/>KubeVirt</>Scripted</'
"""


def pod_link(network: str) -> str:
    return "pod" + hashlib.sha256(network.encode()).hexdigest()[:11]


@pytest.fixture(scope="module")
def plugin_image(cluster: None) -> str:
    """The side-car's image: Virtpod's, which has Python and gRPC, and one file."""
    store = layers.Store()
    program = Path(__file__).with_name("binding_plugin.py")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "opt")
        place.mkdir(mode=0o755)
        (place / program.name).write_bytes(program.read_bytes())
        own = store.add("test", "plugin", lambda stream: layers.write(Path(folder), stream, 0))
    settings = oci.Settings(command=("/usr/bin/python3", f"/opt/{program.name}"))
    built = oci.image("binding-plugin", (*catalogue.VIRTPOD.layers(store), own), settings)
    deliver.into_cluster([built], PREFIX, store)
    return built.reference(PREFIX)


@pytest.fixture(scope="module")
def multus(cluster: None) -> Iterator[None]:
    networks.on()
    install = f"mkdir -p /opt/cni/bin && cat >{BINARY} <<'END'\n{CNI_PLUGIN}END\n"
    on_node(NODE, f"{install}chmod +x {BINARY}")
    yield
    networks.off()
    on_node(NODE, f"rm -f {BINARY}; for link in {BRIDGES}; do ip link del $link || true; done")


@pytest.fixture(scope="module")
def plugins(plugin_image: str) -> Iterator[None]:
    """Three bindings, and the gate for hooks."""
    before = kubevirt()["spec"].get("configuration", {})
    wanted = copy.deepcopy(before)
    developer = wanted.setdefault("developerConfiguration", {})
    developer["featureGates"] = [*developer.get("featureGates", ()), "Sidecar"]
    wanted.setdefault("network", {})["binding"] = {
        "managed": {"domainAttachmentType": "managedTap"},
        "by-cni": {"domainAttachmentType": "tap", "networkAttachmentDefinition": "by-cni"},
        "user-network": {"sidecarImage": plugin_image},
    }
    configure(wanted)
    yield
    configure(before)


def configure(configuration: Object) -> None:
    patch = [{"op": "add", "path": "/spec/configuration", "value": configuration}]
    kubectl(
        *("-n", SYSTEM, "patch", "kubevirt", "kubevirt", "--type", "json"),
        *("--patch", json.dumps(patch)),
    )
    available()


def definition(name: str, **config: object) -> Object:
    whole = {"cniVersion": "1.0.0", "name": name, **config}
    return {
        "apiVersion": f"{networks.GROUP}/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name},
        "spec": {"config": json.dumps(whole)},
    }


def machine(name: str, number: int, nics: dict[str, Object], nets: dict[str, Object]) -> Object:
    """Its secondary interfaces have the addresses 10.77.<interface>.<number>."""
    made = vm(name, "RerunOnFailure", nodeSelector={"kubernetes.io/hostname": NODE})
    spec = made["spec"]["template"]["spec"]
    spec["domain"]["devices"]["interfaces"] = [{"name": nic, **how} for nic, how in nics.items()]
    spec["domain"]["devices"]["disks"].append({"name": "cloud", "disk": {"bus": "virtio"}})
    spec["networks"] = [{"name": net, **how} for net, how in nets.items()]
    addresses = {
        f"eth{place}": {"addresses": [f"10.77.{place}.{number}/24"]}
        for place in range(1, len(nics))
    }
    told = {"version": 2, "ethernets": {"eth0": {"dhcp4": True}, **addresses}}
    text = "version: 2\nethernets:\n" + "".join(
        f"  {nic}:\n" + "".join(f"    {key}: {json.dumps(value)}\n" for key, value in each.items())
        for nic, each in told["ethernets"].items()  # type: ignore[attr-defined]
    )
    source = {"userData": "#cloud-config\n", "networkData": text}
    spec["volumes"].append({"name": "cloud", "cloudInitNoCloud": source})
    return made


@pytest.fixture(scope="module")
def guests(namespace: Namespace, multus: None, plugins: None) -> dict[str, Object]:
    red = {"multus": {"networkName": "red"}}
    green = {"multus": {"networkName": f"{namespace.name}/green"}}
    one = machine(
        "one",
        1,
        {
            "default": {"masquerade": {}},
            "red": {"bridge": {}, "macAddress": "02:00:00:00:77:01"},
            "green": {"binding": {"name": "by-cni"}},
        },
        {"default": {"pod": {}}, "red": red, "green": green},
    )
    one["spec"]["template"]["metadata"]["annotations"] = {
        "hooks.kubevirt.io/hookSidecars": json.dumps(
            [
                {
                    "args": ["--version", "v1alpha3"],
                    "configMap": {
                        "name": "scripts",
                        "key": "domain.sh",
                        "hookPath": "/usr/bin/onDefineDomain",
                    },
                }
            ]
        )
    }
    two = machine(
        "two",
        2,
        {
            "default": {"binding": {"name": "user-network"}},
            "red": {"bridge": {}},
            "green": {"binding": {"name": "managed"}},
        },
        {"default": {"pod": {}}, "red": red, "green": green},
    )
    scripts: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "scripts"},
        "data": {"domain.sh": SCRIPT},
    }
    # A machine without a VM, which would clear it away when the guest has powered off.
    two = {**vmi("two"), "spec": two["spec"]["template"]["spec"]}
    bridged = {"type": "bridge", "ipam": {}}
    namespace.apply(
        scripts,
        definition("green", bridge="e2e-green", **bridged),
        definition("by-cni", type="test-tap"),
        one,
        two,
    )
    missing = namespace.wait(
        *("vmi", "one"),
        lambda vmi: condition(vmi, "Synchronized") == "False",
        "it lacks a network",
    )
    told = conditions(missing)["Synchronized"]
    assert told["reason"] == "FailedNetworkNotFound"
    assert told["message"] == (
        f"NetworkAttachmentDefinition {namespace.name}/red does not exist; "
        "spec.networks[1].multus.networkName names it"
    )
    with pytest.raises(Refused, match="NetworkNotFound"):
        namespace.virtctl("why", "vm", "one")
    namespace.apply(definition("red", bridge="e2e-red", **bridged))
    return {name: namespace.running(name) for name in ("one", "two")}


@pytest.mark.shows("networks.multus.networkName", "domain.devices.interfaces.binding.name")
def test_guests_talk_on_each_of_their_networks(
    namespace: Namespace, guests: dict[str, Object]
) -> None:
    with Console(namespace.name, "two") as other:
        other.login()
    with Console(namespace.name, "one") as console:
        console.login()
        console.run("ping -c 2 -W 5 10.77.1.2")  # bridge to bridge
        console.run("ping -c 2 -W 5 10.77.2.2")  # the CNI plugin's tap to a managed one
        assert console.run("cat /sys/class/net/eth1/address") == "02:00:00:00:77:01"


def test_the_status_tells_of_them(namespace: Namespace, guests: dict[str, Object]) -> None:
    seen = {each["name"]: each for each in guests["one"]["status"]["interfaces"]}
    assert list(seen) == ["default", "red", "green"]
    for name in ("red", "green"):
        assert seen[name]["podInterfaceName"] == pod_link(name)
        assert "multus-status" in seen[name]["infoSource"]
    assert seen["red"]["mac"] == "02:00:00:00:77:01"


def test_a_script_from_a_config_map_changes_the_domain(
    namespace: Namespace, guests: dict[str, Object]
) -> None:
    with Console(namespace.name, "one") as console:
        assert console.login().run("cat /sys/class/dmi/id/sys_vendor") == "Scripted"


def test_a_plugin_s_side_car_gives_the_guest_its_network_and_hears_of_its_end(
    namespace: Namespace, guests: dict[str, Object]
) -> None:
    address = guests["one"]["status"]["interfaces"][0]["ipAddress"]
    pod = namespace.launcher(guests["two"])["metadata"]["name"]
    with Console(namespace.name, "two") as console:
        console.login()
        assert "10.0.2.15" in console.run("ip address")
        assert console.run(f"wget -q -T 20 -O - http://{address}/") == "hello from one"
        console.type("poweroff -f\n")
        console.closed()
    namespace.kubectl(
        *("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{pod}", "--timeout=60s")
    )
    log = namespace.kubectl("logs", pod, "--container", "hook-sidecar-0")
    assert "the guest is gone" in log


class Stream:
    """A TCP server on the node, at the pods' gateway, that one guest writes numbered lines to."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            cluster.within(NODE, [sys.executable, "-u", "-c", LISTENS]),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.address, self.port = self._process.stdout.readline().split()

    def lines(self) -> list[str]:
        """All that came, when the guest has closed."""
        said, _ = self._process.communicate(timeout=60)
        return said.split()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def stream(guests: dict[str, Object]) -> Iterator[Stream]:
    made = Stream()
    yield made
    made.close()


@pytest.mark.shows("domain.devices.interfaces.state")
def test_a_network_comes_and_goes_while_traffic_flows(
    namespace: Namespace, guests: dict[str, Object], stream: Stream
) -> None:
    """The link by its CNI plugin in the pod that runs, the card by virt-handler in the guest."""
    ranges = {"type": "host-local", "subnet": "10.77.9.0/24", "dataDir": "/run/cni/e2e-blue"}
    blue = definition("blue", type="bridge", bridge="e2e-blue", isGateway=True, ipam=ranges)
    namespace.apply(blue)
    pod = namespace.launcher(guests["one"])["metadata"]["name"]
    count = "i=0; while [ ! -e /tmp/over ]; do echo $i; i=$((i+1)); usleep 50000; done"
    with Console(namespace.name, "one") as console:
        console.login()
        console.run(f"({count}) | nc {stream.address} {stream.port} >/dev/null 2>&1 & true")
        console.run(f"ping -q {stream.address} >/tmp/pings 2>&1 & echo $! >/tmp/ping.pid")
        console.run("cat /sys/class/net/*/address >/tmp/before")

        change_blue(namespace, {"name": "blue", "bridge": {}})
        seen = interface_of(namespace, "blue", lambda nic: "domain" in nic.get("infoSource", ""))
        assert set(seen["infoSource"].split(", ")) == {"domain", "multus-status"}
        assert seen["podInterfaceName"] == pod_link("blue")
        card = f"$(grep -l {seen['mac']} /sys/class/net/*/address | cut -d/ -f5)"
        console.run(f"for i in $(seq 60); do [ {card} ] && break; sleep 1; done; echo {card}")
        console.run(f"card={card}; ip link set $card up")
        console.run("udhcpc -n -q -i $card -s /usr/lib/guest/udhcpc")
        assert "inet 10.77.9." in console.run("ip -4 addr show dev $card")
        console.run("ping -c 2 -W 5 10.77.9.1")

        change_blue(namespace, {"name": "blue", "bridge": {}, "state": "absent"})
        namespace.wait("vmi", "one", lambda vmi: not named(vmi, "blue"), "it has let the card go")
        console.run('[ "$(cat /sys/class/net/*/address)" = "$(cat /tmp/before)" ]')
        status = "k8s.v1.cni.cncf.io/network-status"
        namespace.wait(
            *("pod", pod),
            lambda pod: pod_link("blue") not in pod["metadata"]["annotations"][status],
            "its pod has lost the link",
        )
        assert pod_link("blue") not in namespace.compute(pod, "ip", "link")

        console.run("kill -INT $(cat /tmp/ping.pid); sleep 1")
        assert " 0% packet loss" in console.run("cat /tmp/pings")
        console.run("touch /tmp/over")
    found = stream.lines()
    assert found == [str(number) for number in range(len(found))]
    assert len(found) > 50
    vm = namespace.get("vm", "one")
    assert condition(vm, "RestartRequired") == ""
    assert namespace.launcher(guests["one"])["metadata"]["name"] == pod


def change_blue(namespace: Namespace, nic: Object) -> None:
    """In the VM's template."""
    spec = namespace.get("vm", "one")["spec"]["template"]["spec"]
    nics = [each for each in spec["domain"]["devices"]["interfaces"] if each["name"] != "blue"]
    nets = [each for each in spec["networks"] if each["name"] != "blue"]
    changed = {
        "domain": {"devices": {"interfaces": [*nics, nic]}},
        "networks": [*nets, {"name": "blue", "multus": {"networkName": "blue"}}],
    }
    namespace.patch("vm", "one", {"spec": {"template": {"spec": changed}}})


def named(vmi: Object, name: str) -> Object:
    found = (vmi.get("status") or {}).get("interfaces") or []
    return next((each for each in found if each.get("name") == name), {})  # the agent's have none


def interface_of(namespace: Namespace, name: str, claim: Callable[[Object], bool]) -> Object:
    vmi = namespace.wait("vmi", "one", lambda vmi: claim(named(vmi, name)), f"{name} is there")
    return named(vmi, name)


@pytest.mark.shows("networks.multus.default")
def test_a_network_in_place_of_the_pod_s_own(namespace: Namespace, multus: None) -> None:
    """Its link has the MAC address that is the machine's own, and the address that it asks for."""
    leases = f"/run/cni/{namespace.name}"
    ranges = {"type": "host-local", "subnet": "10.88.7.0/24", "dataDir": leases}
    takes = {"capabilities": {"ips": True, "mac": True}}
    namespace.apply(definition("lan", type="bridge", bridge="e2e-lan", ipam=ranges, **takes))
    made = bare("inside")["spec"]["template"]["spec"]
    del made["domain"]["devices"]["autoattachPodInterface"]
    made["domain"]["devices"]["interfaces"] = [{"name": "lan", "bridge": {}}]
    made["domain"]["firmware"] = {"uuid": "5d307ca9-b3ef-428c-8861-06e72d69f223"}
    made["networks"] = [{"name": "lan", "multus": {"networkName": "lan", "default": True}}]
    whole = {**vmi("inside"), "spec": made}
    whole["metadata"]["annotations"] = {"virtpod.io/addresses": '{"lan": ["10.88.7.77"]}'}
    namespace.apply(whole)
    found = namespace.running("inside")
    [interface] = found["status"]["interfaces"]
    assert interface["ipAddress"] == "10.88.7.77"
    assert interface["podInterfaceName"] == "eth0"
    pod = namespace.launcher(found)
    assert interface["ipAddress"] == pod["status"]["podIP"]
    told = json.loads(pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"])
    assert [(each["interface"], each["mac"]) for each in told] == [("eth0", interface["mac"])]
    assert interface["mac"] == "02:ba:40:91:fc:23", "it follows from uuid and name"


def test_a_binding_that_nobody_registered_is_refused(namespace: Namespace, plugins: None) -> None:
    made = machine("bad", 3, {"default": {"binding": {"name": "none"}}}, {"default": {"pod": {}}})
    with pytest.raises(Refused, match="network binding plugin 'none' is not registered"):
        namespace.apply(made)
