"""A network binding plugin's side-car: it joins the guest by QEMU's own user network. The test
makes an image of it (`test_networks.py`)."""

import asyncio
import json
import os
import sys
from xml.etree import ElementTree

from virtpod.wire.grpc import serving, unknown
from virtpod.wire.protobuf import decode, encode, text

NAME = "user-network"
FOLDER = "/var/run/kubevirt-hooks"
over = asyncio.Event()


def info(request: bytes) -> bytes:
    points = [(3, encode([(1, hook), (2, 5)])) for hook in ("OnDefineDomain", "Shutdown")]
    return encode([(1, NAME), *points, (4, "v1alpha3")])


def define(request: bytes) -> bytes:
    fields = decode(request)
    domain = ElementTree.fromstring(text(fields, 1))
    devices = domain.find("devices")
    assert devices is not None
    nics = json.loads(text(fields, 2))["spec"]["domain"]["devices"]["interfaces"]
    # The guest counts its cards in this order: those of the spec.
    places = [place for place, each in enumerate(devices) if each.tag == "interface"]
    for number, nic in enumerate(nics):
        if nic.get("binding", {}).get("name") == NAME:
            own = ElementTree.Element("interface", type="user")
            ElementTree.SubElement(own, "model", type="virtio-non-transitional")
            ElementTree.SubElement(own, "alias", name=f"ua-{nic['name']}")
            devices.insert(places[0] + number, own)
    return encode([(1, ElementTree.tostring(domain))])


def shut_down(request: bytes) -> bytes:
    print("the guest is gone", file=sys.stderr, flush=True)  # noqa: T201  # its container's log
    over.set()
    return b""


METHODS = {
    "/kubevirt.hooks.info.Info/Info": info,
    "/kubevirt.hooks.v1alpha3.Callbacks/OnDefineDomain": define,
    "/kubevirt.hooks.v1alpha3.Callbacks/Shutdown": shut_down,
}


async def answer(method: str, request: bytes) -> bytes:
    if method not in METHODS:
        raise unknown(method)
    return METHODS[method](request)


async def main() -> None:
    async with serving(f"{FOLDER}/{NAME}.sock", answer):
        await over.wait()
        await asyncio.sleep(0.5)  # the answer goes out first


if __name__ == "__main__":
    os.umask(0)
    asyncio.run(main())
