"""virtctl create instancetype --cpu N --memory SIZE"""

from __future__ import annotations

import argparse
from typing import Any

from virtpod.cli import _parameters as parameters
from virtpod.cli.session import Failure

EXAMPLES = """examples:
  virtctl create instancetype --cpu 2 --memory 256Mi | kubectl create -f -
  virtctl create instancetype --name small --namespaced --cpu 1 --memory 1Gi \\
      --gpu name:gpu1,devicename:nvidia.com/A40"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="made up by default")
    parser.add_argument("--namespaced", action="store_true", help="of one namespace only")
    parser.add_argument("--cpu", type=int, required=True, metavar="COUNT", help="virtual CPUs")
    parser.add_argument("--memory", required=True, metavar="SIZE", help="such as 256Mi")
    for flag, what in (("gpu", "a GPU"), ("hostdevice", "a device of the node")):
        parser.add_argument(
            f"--{flag}",
            action="append",
            default=[],
            metavar="name:NAME,devicename:RESOURCE",
            help=f"{what}; may be repeated",
        )
    parser.add_argument("--iothreadspolicy", default="", choices=("", "auto", "shared"))


def run(args: argparse.Namespace) -> int:
    try:
        return parameters.print_yaml(manifest(args))
    except Failure as failure:
        return parameters.told(failure)


def manifest(args: argparse.Namespace) -> dict[str, Any]:
    """Raises Failure."""
    if args.cpu < 1:
        raise Failure("--cpu is 1 or more")
    spec: dict[str, Any] = {
        "cpu": {"guest": args.cpu},
        "memory": {"guest": parameters.quantity("memory", args.memory)},
    }
    for flag, key, given in (
        ("gpu", "gpus", args.gpu),
        ("hostdevice", "hostDevices", args.hostdevice),
    ):
        keys = ("name", "devicename")
        devices = [parameters.parsed(flag, each, keys, keys) for each in given]
        if devices:
            spec[key] = [
                {"name": device["name"], "deviceName": device["devicename"]} for device in devices
            ]
    if args.iothreadspolicy:
        spec["ioThreadsPolicy"] = args.iothreadspolicy
    return made("Instancetype", args, spec)


def made(what: str, args: argparse.Namespace, spec: dict[str, Any]) -> dict[str, Any]:
    """An instance type or a preference: of the cluster, or of a namespace."""
    metadata = {"name": parameters.named(args.name, what.lower())}
    if args.namespaced and args.namespace:
        metadata["namespace"] = args.namespace
    return {
        "apiVersion": "instancetype.kubevirt.io/v1beta1",
        "kind": f"VirtualMachine{'' if args.namespaced else 'Cluster'}{what}",
        "metadata": metadata,
        "spec": spec,
    }
