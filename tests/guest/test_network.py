"""Each binding as a guest has it, with what virt-handler makes in the pod around it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from images import catalogue
from images.guest import build
from tests.guest.conftest import VMI, admitted
from tests.guest.pod import Container, Handler, Serial, connected
from tests.guest.site import AWAY4, AWAY6, MTU, NODE4, POD4, POD6, site
from virtpod.wire.messages import Done, Kill

SIX = (
    "for i in $(seq 30); do ip -6 addr show scope global >/tmp/six; "
    "grep -q /128 /tmp/six && ! grep -q tentative /tmp/six && break; sleep 1; done"
)
"""It asks for its IPv6 address when its router has spoken, and uses it when nobody else has it."""
MAC = "02:00:5e:00:00:07"


def machine(interface: dict[str, Any], **network: Any) -> dict[str, Any]:
    """The demo VMI with another interface of the pod's network."""
    raw = yaml.safe_load(VMI)
    raw["spec"]["domain"]["devices"]["interfaces"] = [{"name": "default", **interface}]
    raw["spec"]["networks"] = [{"name": "default", "pod": network}]
    return admitted(raw)


async def logged_in(box: Container) -> Serial:
    serial = await Serial.of(box)
    await serial.until("login:")
    await serial.log_in()
    return serial


def cards(handler: Handler) -> list[str]:
    """The machine's, by name; what the guest's agent knows beside them has none."""
    return [nic.name for nic in handler.last.interfaces if nic.name]


@pytest.mark.shows(
    "domain.devices.interfaces.macAddress",
    "domain.devices.interfaces.ports.*",
    "domain.devices.interfaces.portRanges.*",
    "networks.pod.*",
)
async def test_a_masqueraded_guest_has_both_families(
    box: Container, cache: dict[str, bytes]
) -> None:
    ports = {"ports": [{"name": "web", "port": 80, "protocol": "TCP"}]}
    ranges = {"portRanges": [{"start": 7000, "end": 7010, "protocol": "TCP"}]}
    cidrs = {"vmNetworkCIDR": "192.168.50.0/28", "vmIPv6NetworkCIDR": "fd10:7::/112"}
    vmi = machine({"masquerade": {}, "macAddress": MAC, **ports, **ranges}, **cidrs)
    (box.run / "bare").touch()
    box.launch()
    with site(box) as net:
        async with connected(box, cache) as handler:
            net.plug()
            links = await net.prepare(vmi)
            assert isinstance(await handler.sync(vmi, links), Done)
            serial = await logged_in(box)
            await serial.answer(SIX)
            shown = await serial.answer("ip addr show eth0; ip -6 route; cat /etc/resolv.conf")
            for wanted in (f"ether {MAC}", "192.168.50.2/28", "fd10:7::2/128", f"mtu {MTU}"):
                assert wanted in shown
            assert "default via fe80::1 dev eth0" in shown
            assert "nameserver 192.0.2.53" in shown

            # Out: as the pod. The server says who asked, and whom.
            for node, pod in ((AWAY4, f"::ffff:{POD4}"), (AWAY6, POD6)):
                said = await serial.answer(f"nc -w 10 {node} 7777 </dev/null")
                assert f"from {pod} to " in said, said
            # In: what is listed, and nothing else.
            for pod in (POD4, POD6):
                assert "HTTP/1" in net.asked(pod, 80)
                assert "refused" in net.asked(pod, 81)
            await serial.answer("httpd -p 7005 -h /www")
            assert "HTTP/1" in net.asked(POD4, 7005)
            serial.say("poweroff")
            await handler.domain("Shutoff")
            await handler.release()


async def test_a_guest_of_a_pod_with_ipv6_alone_has_ipv6_alone(
    box: Container, cache: dict[str, bytes]
) -> None:
    vmi = machine({"masquerade": {}, "ports": [{"port": 80, "protocol": "TCP"}]})
    (box.run / "bare").touch()
    box.launch()
    with site(box) as net:
        async with connected(box, cache) as handler:
            net.plug(four=False)
            assert isinstance(await handler.sync(vmi, await net.prepare(vmi)), Done)
            assert "kubevirt" not in net.in_pod("nft", "list", "tables", "ip")
            serial = await logged_in(box)
            await serial.answer(SIX)
            shown = await serial.answer("ip addr show eth0; ip -6 route")
            assert "fd10:0:2::2/128" in shown
            assert "default via fe80::1 dev eth0" in shown
            assert "inet 10." not in shown
            said = await serial.answer(f"nc -w 10 {AWAY6} 7777 </dev/null")
            assert f"from {POD6} to " in said, said
            assert "HTTP/1" in net.asked(POD6, 80)
            assert "refused" in net.asked(POD6, 81)
            serial.say("poweroff")
            await handler.domain("Shutoff")
            await handler.release()


@pytest.mark.shows("domain.devices.interfaces.passtBinding")
async def test_a_guest_by_passt_has_the_pod_s_address(
    box: Container, cache: dict[str, bytes]
) -> None:
    ports = {"ports": [{"port": 80, "protocol": "TCP"}]}
    ranges = {"portRanges": [{"start": 7000, "end": 7010, "protocol": "TCP"}]}
    vmi = machine({"passtBinding": {}, **ports, **ranges})
    (box.run / "bare").touch()
    box.launch()
    with site(box) as net:
        async with connected(box, cache) as handler:
            net.plug("net7")
            before = net.links()
            links = await net.prepare(vmi)
            assert [link.device for link in links] == ["net7"], "it is not found by its usual name"
            assert net.links() == before, "passt wants nothing made"
            answered = await handler.sync(vmi, links)
            assert isinstance(answered, Done), answered
            serial = await logged_in(box)
            await serial.answer(SIX)
            shown = await serial.answer("ip addr show eth0; ip route; ip -6 route")
            assert f"inet {POD4}/24" in shown
            assert f"default via {NODE4}" in shown
            assert f"{POD6}" in shown
            for node, pod in ((AWAY4, f"::ffff:{POD4}"), (AWAY6, POD6)):
                said = await serial.answer(f"nc -w 10 {node} 7777 </dev/null")
                assert f"from {pod} to " in said, said
            for pod in (POD4, POD6):
                assert "HTTP/1" in net.asked(pod, 80)
                assert "refused" in net.asked(pod, 81)
            await serial.answer("httpd -p 7005 -h /www")
            assert "HTTP/1" in net.asked(POD4, 7005)
            serial.say("poweroff")
            await handler.domain("Shutoff")
            await handler.release()


BLUE = f"pod{sha256(b'blue').hexdigest()[:11]}"


@pytest.mark.shows("domain.devices.interfaces.bridge", "domain.devices.interfaces.state")
async def test_cards_and_cables_come_and_go_while_the_guest_runs(
    box: Container, cache: dict[str, bytes]
) -> None:
    vmi = machine({"masquerade": {}, "state": "down"})
    interfaces = vmi["spec"]["domain"]["devices"]["interfaces"]
    (box.run / "bare").touch()
    box.launch()
    with site(box) as net:
        async with connected(box, cache) as handler:
            net.plug(six=False)
            assert isinstance(await handler.sync(vmi, await net.prepare(vmi)), Done)
            assert [nic.down for nic in handler.last.interfaces] == [True]
            serial = await logged_in(box)
            carrier = "cat /sys/class/net/eth0/carrier"
            assert await serial.answer(carrier) == "0\n"

            # A cable is put in: the guest sees it at once, and gets its address.
            interfaces[0]["state"] = "up"
            assert isinstance(await handler.rewire(vmi, await net.prepare(vmi)), Done)
            assert await serial.answer(carrier) == "1\n"
            assert [nic.down for nic in handler.last.interfaces] == [False]

            # A card comes: the CNI's link is there, and virt-handler makes the rest.
            alone = net.links()
            interfaces.append({"name": "blue", "bridge": {}})
            vmi["spec"]["networks"].append({"name": "blue", "multus": {"networkName": "blue"}})
            net.plug(BLUE, number=1)
            mac = net.links()[BLUE]["address"]
            links = await net.prepare(vmi)
            assert isinstance(await handler.rewire(vmi, links), Done)
            assert cards(handler) == ["default", "blue"]
            got = "udhcpc -q -n -i eth1 -s /usr/lib/guest/udhcpc >/dev/null 2>&1; ip addr show eth1"
            shown = await serial.answer(f"ip link set eth1 up; {got}")
            assert f"ether {mac}" in shown
            assert "inet 10.2.0.7/24" in shown
            assert "1 packets received" in await serial.answer("ping -c 1 -W 10 10.2.0.1")

            # It goes, and nothing of it stays in the pod but the CNI's own.
            interfaces[1]["state"] = "absent"
            assert isinstance(await handler.rewire(vmi, await net.prepare(vmi)), Done)
            assert cards(handler) == ["default"]
            assert "eth1" not in await serial.answer("ls /sys/class/net")
            await net.discard(vmi)
            assert net.links().keys() == {*alone, BLUE}
            serial.say("poweroff")
            await handler.domain("Shutoff")
            await handler.release()


NOTED = ("ip", "subnet", "router", "dns", "search", "mtu", "hostname", "lease", "serverid")
CLIENT = f"""
echo '#!/bin/sh' >/tmp/client; chmod +x /tmp/client; killall udhcpc 2>/dev/null
echo '/usr/lib/guest/udhcpc "$@"' >>/tmp/client
echo 'env | grep -E "^({"|".join(NOTED)})=" >/tmp/$interface.$1' >>/tmp/client
for nic in eth0 eth1; do ip link set $nic up; set -- -O search -O staticroutes -O mtu -O hostname
udhcpc -f -S -i $nic -s /tmp/client -p /tmp/$nic.pid "$@" >/dev/null 2>&1 & done
"""
"""DHCP clients that stay, and note what each answer told them."""


async def test_a_lease_is_renewed_as_it_was_given(box: Container, cache: dict[str, bytes]) -> None:
    """By the server of each binding, also long after a virt-handler has gone and another come."""
    vmi = machine({"masquerade": {}})
    vmi["spec"]["domain"]["devices"]["interfaces"].append({"name": "blue", "bridge": {}})
    vmi["spec"]["networks"].append({"name": "blue", "multus": {"networkName": "blue"}})
    (box.run / "bare").touch()
    box.launch()
    with site(box) as net:
        async with connected(box, cache) as handler:
            net.plug(six=False)
            net.plug(BLUE, number=1)
            assert isinstance(await handler.sync(vmi, await net.prepare(vmi)), Done)
            serial = await logged_in(box)
            for line in CLIENT.strip().splitlines():
                serial.say(line)
            had = {}
            for nic, address in (("eth0", "10.0.2.2"), ("eth1", "10.2.0.7")):
                had[nic] = await told(serial, nic, "bound")
                assert had[nic]["ip"] == address
                assert had[nic]["dns"] == "192.0.2.53"
                assert await renewed(serial, nic) == had[nic]
        async with connected(box, cache) as handler:
            links = await net.prepare(vmi)
            assert isinstance(await handler.sync(vmi, links), Done)
            for nic in had:
                assert await renewed(serial, nic) == had[nic]
            serial.say("poweroff")
            await handler.domain("Shutoff")
            await handler.release()


async def told(serial: Serial, nic: str, event: str) -> dict[str, str]:
    """What the server's answer told; taken away, so that the next one is another."""
    file = f"/tmp/{nic}.{event}"
    wait = f"for i in $(seq 60); do test -s {file} && break; sleep 0.5; done; cat {file}; rm {file}"
    lines = (await serial.answer(wait)).splitlines()
    return dict(line.strip().split("=", 1) for line in lines if "=" in line)


async def renewed(serial: Serial, nic: str) -> dict[str, str]:
    await serial.answer(f"kill -USR1 $(cat /tmp/{nic}.pid)")
    return await told(serial, nic, "renew")


@pytest.mark.shows(
    "domain.devices.interfaces.bootOrder",
    "domain.devices.interfaces.dhcpOptions.bootFileName",
    "domain.devices.interfaces.dhcpOptions.tftpServerName",
)
async def test_a_guest_without_a_disk_boots_from_the_network(
    box: Container, cache: dict[str, bytes], tmp_path: Path
) -> None:
    """Its card's ROM, iPXE, fetches a script, a kernel and a root from a server on the node."""
    build.kernel(build.tools(catalogue.DEMO_GUEST_WORK), tmp_path)
    base = f"http://{NODE4}:8080"
    lines = (
        "#!ipxe",
        f"kernel {base}/vmlinuz console=ttyS0 quiet",
        f"initrd {base}/initrd",
        "boot",
    )
    (tmp_path / "boot.ipxe").write_text("\n".join(lines) + "\n")
    options = {"bootFileName": f"{base}/boot.ipxe", "tftpServerName": NODE4}
    vmi = machine({"masquerade": {}, "bootOrder": 1, "dhcpOptions": options})
    vmi["spec"]["volumes"] = []
    vmi["spec"]["domain"]["devices"]["disks"] = []
    (box.run / "bare").touch()
    box.launch()
    with site(box) as net, net.serving(tmp_path, 8080):
        async with connected(box, cache) as handler:
            net.plug(six=False)
            assert isinstance(await handler.sync(vmi, await net.prepare(vmi)), Done)
            serial = await Serial.of(box)
            await serial.until("demo guest: ready")
            await handler.ask(lambda number: Kill(id=number))
            await handler.domain("Shutoff")
            await handler.release()
