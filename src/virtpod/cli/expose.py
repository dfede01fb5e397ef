"""virtctl expose KIND NAME: a Service that leads to machines."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session

if TYPE_CHECKING:
    from virtpod.kube.resources import Resource

Json = dict[str, Any]
TYPES = ("ClusterIP", "NodePort", "LoadBalancer")
FAMILIES = {"ipv4": ["IPv4"], "ipv6": ["IPv6"], "ipv4,ipv6": ["IPv4", "IPv6"]}
FAMILIES["ipv6,ipv4"] = FAMILIES["ipv4,ipv6"][::-1]
POLICIES = ("SingleStack", "PreferDualStack", "RequireDualStack")
OF_ONE = "vm.kubevirt.io/name"
"""Label that virt-controller gives to the instances of a VM, and so to their pods."""
KINDS = {
    **dict.fromkeys(("vm", "vms", "virtualmachine", "virtualmachines"), "vm"),
    **dict.fromkeys(("vmi", "vmis", "virtualmachineinstance", "virtualmachineinstances"), "vmi"),
    **dict.fromkeys(
        (
            *("vmirs", "vmirss", "virtualmachineinstancereplicaset"),
            "virtualmachineinstancereplicasets",
        ),
        "vmirs",
    ),
}

EXAMPLES = """examples:
  virtctl expose vm demo --name demo-ssh --port 22
  virtctl expose vmirs web --name web --port 80 --target-port 8080 --type LoadBalancer
Without --port it is the ports that the machine's interfaces name."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="vm|vmi|vmirs")
    parser.add_argument("name", metavar="NAME")
    # `--name` is the Service's.
    parser.add_argument("--name", dest="service", required=True, help="of the Service")
    parser.add_argument("--port", type=int, default=0, help="of the Service")
    parser.add_argument(
        "--target-port", default="", help="of the machine, if another: number, name"
    )
    parser.add_argument("--port-name", default="", help="of that port")
    parser.add_argument("--protocol", default="TCP", choices=("TCP", "UDP", "SCTP"))
    parser.add_argument("--type", default="ClusterIP", choices=TYPES, help="of the Service")
    parser.add_argument("--cluster-ip", default="", metavar="ADDRESS", help="None: has none")
    parser.add_argument("--external-ip", default="", metavar="ADDRESS")
    parser.add_argument("--ip-family", default="", type=str.lower, choices=("", *FAMILIES))
    parser.add_argument("--ip-family-policy", default="", choices=("", *POLICIES))


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        from virtpod.kube.resources import SERVICES

        kind, resource = _resource(args.kind)
        found = await session.client.get(resource, (session.namespace, args.name))
        await session.client.create(SERVICES, service(args, kind, found, session.namespace))
        print(f"Service {args.service} successfully exposed for {kind} {args.name}")
        return 0

    return run_session(args, act)


def _resource(given: str) -> tuple[str, Resource]:
    """Raises Failure."""
    from virtpod.kube.resources import VMIRS, VMIS, VMS

    kind = KINDS.get(given.lower())
    if kind is None:
        raise Failure(f'unsupported resource type "{given}": use vm, vmi or vmirs')
    return kind, {"vm": VMS, "vmi": VMIS, "vmirs": VMIRS}[kind]


def service(args: argparse.Namespace, kind: str, found: Json, namespace: str) -> Json:
    """Raises Failure."""
    spec: Json = {
        "type": args.type,
        "selector": selector(kind, found),
        "ports": _ports(args, kind, found),
    }
    if args.cluster_ip:
        spec["clusterIP"] = args.cluster_ip
    if args.external_ip:
        spec["externalIPs"] = [args.external_ip]
    if args.ip_family:
        spec["ipFamilies"] = FAMILIES[args.ip_family]
    if args.ip_family_policy:
        spec["ipFamilyPolicy"] = args.ip_family_policy
    elif "," in args.ip_family:
        spec["ipFamilyPolicy"] = "PreferDualStack"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": args.service, "namespace": namespace},
        "spec": spec,
    }


def selector(kind: str, found: Json) -> dict[str, str]:
    """Labels of the launchers' pods. Raises Failure."""
    spec = found.get("spec") or {}
    if kind == "vmirs":
        given = spec.get("selector") or {}
        if given.get("matchExpressions"):
            raise Failure("a Service has no expressions, which the replica set's selector has")
        labels = given.get("matchLabels") or {}
    elif kind == "vm":
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
        labels = labels or {OF_ONE: found["metadata"]["name"][:63]}
    else:
        labels = found["metadata"].get("labels") or {}
    # A node's name is true until the machine moves.
    labels = {key: value for key, value in labels.items() if key != "kubevirt.io/nodeName"}
    if not labels:
        raise Failure(
            f"{found['metadata']['name']} has no labels that a Service could find its pod by: "
            "give its template one"
        )
    return labels


def _ports(args: argparse.Namespace, kind: str, found: Json) -> list[Json]:
    if args.port:
        port: Json = {"protocol": args.protocol, "port": args.port}
        target = args.target_port
        port["targetPort"] = int(target) if target.isdecimal() else target or args.port
        return [{"name": args.port_name, **port} if args.port_name else port]
    spec = found.get("spec") or {}
    if kind != "vmi":
        spec = (spec.get("template") or {}).get("spec") or {}
    interfaces = ((spec.get("domain") or {}).get("devices") or {}).get("interfaces") or ()
    named = [port for interface in interfaces for port in interface.get("ports") or ()]
    if not named:
        raise Failure("which port? the machine's interfaces name none: say it by --port")
    return [
        {
            "name": port.get("name") or f"port-{number}",
            "protocol": port.get("protocol") or "TCP",
            "port": port["port"],
            "targetPort": port["port"],
        }
        for number, port in enumerate(named, 1)
    ]
