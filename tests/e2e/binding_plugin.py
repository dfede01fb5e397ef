"""A network binding plugin's side-car, by grpc's own server: it joins the guest by QEMU's own user
network. The test makes an image of it (`test_networks.py`)."""

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree

import grpc

from virtpod.wire.protobuf import decode, encode, text

NAME = "user-network"
FOLDER = "/var/run/kubevirt-hooks"
over = threading.Event()


def info(request: bytes, context: Any) -> bytes:
    points = [(3, encode([(1, hook), (2, 5)])) for hook in ("OnDefineDomain", "Shutdown")]
    return encode([(1, NAME), *points, (4, "v1alpha3")])


def define(request: bytes, context: Any) -> bytes:
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


def shut_down(request: bytes, context: Any) -> bytes:
    print("the guest is gone", file=sys.stderr, flush=True)  # noqa: T201  # its container's log
    over.set()
    return b""


class Methods(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        own = {
            "/kubevirt.hooks.info.Info/Info": info,
            "/kubevirt.hooks.v1alpha3.Callbacks/OnDefineDomain": define,
            "/kubevirt.hooks.v1alpha3.Callbacks/Shutdown": shut_down,
        }.get(handler_call_details.method)
        return own and grpc.unary_unary_rpc_method_handler(own)


if __name__ == "__main__":
    os.umask(0)
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Methods(),))
    server.add_insecure_port(f"unix:{FOLDER}/{NAME}.sock")
    server.start()
    over.wait()
    server.stop(1).wait()
