"""virtctl create clone --source-name NAME"""

from __future__ import annotations

import argparse
from typing import Any

from virtpod.cli import _parameters as parameters
from virtpod.cli.session import Failure

KINDS = {
    "vm": ("kubevirt.io", "VirtualMachine"),
    "virtualmachine": ("kubevirt.io", "VirtualMachine"),
    "snapshot": ("snapshot.kubevirt.io", "VirtualMachineSnapshot"),
    "virtualmachinesnapshot": ("snapshot.kubevirt.io", "VirtualMachineSnapshot"),
}
FILTERS = (
    ("label-filter", "labels of the source that are kept"),
    ("annotation-filter", "annotations of the source that are kept"),
    ("template-label-filter", "labels of its template that are kept"),
    ("template-annotation-filter", "annotations of its template that are kept"),
)

EXAMPLES = """examples:
  virtctl create clone --source-name my-vm --target-name copy | kubectl create -f -
  virtctl create clone --source-type snapshot --source-name before --label-filter '*' \\
      --label-filter '!key' --new-mac-address default:02:00:00:00:00:01
Filters are patterns such as some/*; one that starts with ! excludes."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="of the clone object; made up by default")
    parser.add_argument("--source-name", required=True, metavar="NAME")
    parser.add_argument(
        "--source-type", default="vm", metavar="KIND", help="vm (default), snapshot"
    )
    parser.add_argument("--target-name", default="", metavar="NAME", help="made up by default")
    parser.add_argument("--target-type", default="vm", metavar="KIND", help="vm")
    for flag, text in FILTERS:
        parser.add_argument(
            f"--{flag}", action="append", default=[], metavar="PATTERN", help=f"{text}; repeatable"
        )
    parser.add_argument(
        "--new-mac-address",
        action="append",
        default=[],
        metavar="INTERFACE:ADDRESS",
        help="instead of the source's; may be repeated",
    )
    parser.add_argument("--new-smbios-serial", default="", metavar="SERIAL")


def run(args: argparse.Namespace) -> int:
    try:
        return parameters.print_yaml(manifest(args))
    except Failure as failure:
        return parameters.told(failure)


def manifest(args: argparse.Namespace) -> dict[str, Any]:
    """Raises Failure."""
    spec: dict[str, Any] = {"source": _reference("source", args.source_type, args.source_name)}
    target = _reference("target", args.target_type, args.target_name)
    if target["kind"] != "VirtualMachine":
        raise Failure(f"--target-type is vm, not {args.target_type}")
    if args.target_name:
        spec["target"] = target
    template = {
        "labelFilters": args.template_label_filter,
        "annotationFilters": args.template_annotation_filter,
    }
    spec |= {
        key: value
        for key, value in {
            "labelFilters": args.label_filter,
            "annotationFilters": args.annotation_filter,
            "template": {key: value for key, value in template.items() if value},
            "newMacAddresses": dict(map(_address, args.new_mac_address)),
            "newSMBiosSerial": args.new_smbios_serial,
        }.items()
        if value
    }
    metadata = {"name": parameters.named(args.name, "clone")}
    if args.namespace:
        metadata["namespace"] = args.namespace
    return {
        "apiVersion": "clone.kubevirt.io/v1beta1",
        "kind": "VirtualMachineClone",
        "metadata": metadata,
        "spec": spec,
    }


def _reference(which: str, kind: str, name: str) -> dict[str, str]:
    if kind.lower() not in KINDS:
        raise Failure(f"--{which}-type is vm or snapshot, not {kind}")
    group, name_of_kind = KINDS[kind.lower()]
    return {"apiGroup": group, "kind": name_of_kind, "name": name}


def _address(text: str) -> tuple[str, str]:
    interface, colon, address = text.partition(":")
    if not (interface and colon and address):
        raise Failure(f"--new-mac-address is INTERFACE:ADDRESS, not {text!r}")
    return interface, address
