"""virtctl create preference"""

from __future__ import annotations

import argparse
from typing import Any

from virtpod.cli import _parameters as parameters
from virtpod.cli.create_instancetype import made

TOPOLOGIES = ("any", "cores", "sockets", "spread", "threads")

EXAMPLES = """examples:
  virtctl create preference --machine-type q35 --cpu-topology cores | kubectl create -f -
  virtctl create preference --name fast --namespaced --volume-storage-class ssd"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="made up by default")
    parser.add_argument("--namespaced", action="store_true", help="of one namespace only")
    parser.add_argument("--volume-storage-class", default="", metavar="NAME", help="of volumes")
    parser.add_argument("--machine-type", default="", metavar="TYPE", help="such as q35")
    parser.add_argument(
        "--cpu-topology", default="", choices=("", *TOPOLOGIES), help="what virtual CPUs look like"
    )


def run(args: argparse.Namespace) -> int:
    return parameters.print_yaml(manifest(args))


def manifest(args: argparse.Namespace) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    if args.volume_storage_class:
        spec["volumes"] = {"preferredStorageClassName": args.volume_storage_class}
    if args.machine_type:
        spec["machine"] = {"preferredMachineType": args.machine_type}
    if args.cpu_topology:
        spec["cpu"] = {"preferredCPUTopology": args.cpu_topology}
    return made("Preference", args, spec)
