"""virtctl explain -f FILE: what a manifest becomes, offline.

Prints what admission makes of it, the launcher's pod, the steps on the node and in the launcher,
and the domain XML, each with the feature that wrote it. What only a node knows (image sizes,
addresses) is assumed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtpod.api.vmi import VirtualMachineInstance
    from virtpod.domain.facts import Cluster, Guest, Host

PARTS = ("spec", "pod", "node", "launcher", "domain")
UUID = "00000000-0000-4000-8000-000000000000"
NOW = "2026-01-01T00:00:00Z"
SOME_FUNCTION = "0000:00:00.0"

EXAMPLES = """examples:
  virtctl explain -f vm.yaml
  virtctl explain -f vm.yaml --only domain
  kubectl get vm demo -o yaml | virtctl explain -f -"""

Json = dict[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--filename", required=True, metavar="FILE", help="- reads a pipe")
    parser.add_argument("--only", choices=PARTS, action="append", help="may be repeated")
    parser.add_argument(
        "--emulation", action="store_true", help="as on nodes without KVM (useEmulation)"
    )
    parser.add_argument("--plain", action="store_true", help="without the features' names")


def run(args: argparse.Namespace) -> int:
    import yaml

    try:
        text = sys.stdin.read() if args.filename == "-" else Path(args.filename).read_text()
        documents = [each for each in yaml.safe_load_all(text) if isinstance(each, dict)]
    except (OSError, yaml.YAMLError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    cluster = _cluster(documents, args.emulation)
    explained, refused = 0, False
    for document in documents:
        kind = document.get("kind")
        if kind in ("VirtualMachine", "VirtualMachineInstance"):
            refused |= not _explain(document, cluster, args)
            explained += 1
    if not explained:
        print("error: there is no VirtualMachine and no VirtualMachineInstance", file=sys.stderr)
    return 1 if refused or not explained else 0


def _cluster(documents: list[Json], emulation: bool) -> Cluster:
    """The configuration of a KubeVirt resource beside the VM, or the defaults."""
    import msgspec

    from virtpod.api.kubevirt import DeveloperConfiguration, KubeVirtConfiguration
    from virtpod.domain.facts import Cluster
    from virtpod.features.gates import resolve

    given = next((each for each in documents if each.get("kind") == "KubeVirt"), {})
    spec = given.get("spec") or {}
    config = msgspec.convert(spec.get("configuration") or {}, KubeVirtConfiguration)
    if emulation:
        developer = config.developer_configuration or DeveloperConfiguration()
        developer.use_emulation = True
        config.developer_configuration = developer
    return Cluster(
        config=config,
        gates=resolve(config),
        launcher_image="virt-launcher",
        image_volumes=True,
    )


def _explain(document: Json, cluster: Cluster, args: argparse.Namespace) -> bool:
    """Prints one document; False where it would be refused."""
    import msgspec

    from virtpod.api.vmi import VirtualMachineInstance
    from virtpod.render import admit, patches

    metadata = document.get("metadata") or {}
    title = f"{document['kind']} {metadata.get('name', '')}".strip()
    raw = document
    warnings: list[str] = []
    causes: list[Any] = []
    if document["kind"] == "VirtualMachine":
        verdict = admit.vm(document, cluster, uuid=UUID, new="uid" not in metadata)
        warnings, causes = verdict.warnings, verdict.causes
        raw = _instance(document)
        if not causes:
            raw["metadata"] = _instance(patches.json(document, verdict.patch))["metadata"]
    if not causes:
        verdict = admit.vmi(raw, cluster, now=NOW, uuid=UUID)
        warnings = warnings or verdict.warnings
        causes = verdict.causes
    print(f"# {title}")
    for warning in warnings:
        print(f"# warning: {warning}")
    for cause in causes:
        print(f"# refused: {cause.field}: {cause.message}", file=sys.stderr)
    if causes:
        return False
    admitted = patches.json(raw, verdict.patch)
    vmi = msgspec.convert(admitted, VirtualMachineInstance)
    _print(vmi, raw, admitted, cluster, args)
    return True


def _instance(vm: Json) -> Json:
    """The VMI that virt-controller would make of a VM."""
    template = vm["spec"]["template"]
    metadata = dict(template.get("metadata") or {})
    metadata |= {
        name: vm["metadata"][name] for name in ("name", "namespace") if name in vm["metadata"]
    }
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": metadata,
        "spec": template.get("spec") or {},
    }


def _print(
    vmi: VirtualMachineInstance,
    raw: Json,
    admitted: Json,
    cluster: Cluster,
    args: argparse.Namespace,
) -> None:
    from virtpod.cli import attribution
    from virtpod.domain.facts import DeviceMissing
    from virtpod.render import pod

    wanted = args.only or PARTS
    node = _node(vmi, cluster)
    guest = _guest(vmi, cluster, node)
    shown = attribution.plain if args.plain else attribution.noted
    if "spec" in wanted:
        print("\n# spec, as admitted")
        print(shown(admitted["spec"], attribution.of_spec(raw.get("spec") or {})))
    if "pod" in wanted:
        manifest = pod.pod(vmi, cluster)
        print("\n# the launcher's pod")
        print(shown(manifest, attribution.of_pod(manifest, vmi, cluster)))
    if "node" in wanted:
        print("\n# steps in the pod's network, by virt-handler")
        print(attribution.steps("host", vmi, node, names=not args.plain))
    if "launcher" in wanted:
        print("\n# steps in the launcher")
        print(attribution.steps("boot", vmi, guest, names=not args.plain))
    if "domain" in wanted:
        print("\n# the domain")
        try:
            print(attribution.domain(vmi, guest, names=not args.plain), end="")
        except DeviceMissing as error:
            print(f"# only its node knows it: {error}")


def _node(vmi: VirtualMachineInstance, cluster: Cluster) -> Host:
    """A node as there may be one, with some function for each that the guest is to have."""
    from virtpod.domain.facts import Host
    from virtpod.features.network import joined, names
    from virtpod.features.network._plugins import registered

    return Host(
        bindings={name: p.domain_attachment_type or "" for name, p in registered(cluster).items()},
        devices={names(net).pod: SOME_FUNCTION for _, nic, net in joined(vmi) if nic.sriov},
    )


def _guest(vmi: VirtualMachineInstance, cluster: Cluster, node: Host) -> Guest:
    """A launcher as there may be one: images of 1 GiB, the usual cluster DNS, and some function for
    each request of a claim."""
    from virtpod.api.traits import claimed
    from virtpod.domain.facts import DiskImage, GivenDevice, Guest, GuestLink
    from virtpod.render.host import links

    developer = cluster.config.developer_configuration
    return Guest(
        links={
            link.name: GuestLink(link.tap, link.bridge, link.mtu, link.mac, pci=link.pci)
            for link in links(vmi, node)
        },
        emulation=bool(developer and developer.use_emulation),
        images={
            volume.name: DiskImage(f"/image/of/{volume.name}", "qcow2", 2**30)
            for volume in vmi.spec.volumes or ()
            if volume.container_disk
        },
        nameservers=("10.96.0.10",),
        searches=("default.svc.cluster.local", "svc.cluster.local", "cluster.local"),
        claimed={each.key: (GivenDevice("pci", SOME_FUNCTION),) for each in claimed(vmi)},
    )
