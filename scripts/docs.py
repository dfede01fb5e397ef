"""`make docs`: the pages that are made from code, so that they cannot say something else.

docs/features.md from the features' own declarations, docs/gaps.md from the roadmap file,
docs/vm-pod-lifecycle.md from the decisions, docs/why.md from the rules of the diagnosis,
docs/api.md from the types, docs/observability.md and docs/monitoring from what is exported and from
the alerts, docs/virtctl.md from the commands' parsers, docs/instancetypes.md from the set that is
shipped, docs/advisories.md from the table of the tests that each has, docs/configuration.md from
the table of what obeys each setting.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from scripts import (
    advisories,
    device_gaps,
    instancetypes,
    knobs,
    lifecycle,
    matrix,
    observability,
    reference,
    virtctl,
)
from virtpod.apiserver.subresources import later
from virtpod.controllers.why import OBSTRUCTED, RULES
from virtpod.features import ALL
from virtpod.render import unattended
from virtpod.render.admit import not_yet

DOCS = Path(__file__).parent.parent / "docs"
HOOKS = ("defaults", "validate", "pod", "host", "boot", "devices", "tune", "observe")


def features() -> str:
    """Every feature: what it is, which hooks it has, and of each field what shows it."""
    shown = sum(path in matrix.tests() for path in matrix.fields())
    missing = [path for path in matrix.fields() if matrix.owner(path) is None]
    lines = [
        "# Features",
        "",
        "Made by `make docs` from `src/virtpod/features`, the golden cases and the tests. Fields",
        "are below `spec` of a VirtualMachineInstance; what is Kubernetes' own goes to the pod as",
        "it is, and is one field here.",
        "",
        f"{len(matrix.fields())} fields: {len(matrix.fields()) - len(missing)} work, of which",
        f"{shown} are shown by a guest; {len(missing)} have no effect yet.",
        "",
        "*Golden*: a case in `tests/golden` that has the field, and how many more there are.",
        "*Seen*: the test in `tests/guest` or `tests/e2e` in which a guest, or its pod, shows what",
        "the field does; or why the machines that run the tests cannot.",
        "",
    ]
    for feature in ALL:
        module = sys.modules[feature.asked.__module__]
        if feature.asked.__module__.endswith("contract"):
            hooks = [getattr(feature, hook) for hook in HOOKS if getattr(feature, hook)]
            module = sys.modules[hooks[0].__module__]
        about = (inspect.getdoc(module) or "").splitlines()[0]
        file = (module.__file__ or "").partition("/src/")[2]
        used = [hook for hook in HOOKS if getattr(feature, hook)]
        lines += [
            f"## {feature.name}",
            "",
            about,
            "",
            f"[{Path(file).name}](../src/{file}) takes part in: {', '.join(used)}.",
            "",
        ]
        owned = [path for path in matrix.fields() if matrix.owner(path) == feature.name]
        if owned:
            lines += [*FIELDS_HEAD, *(_field(path) for path in owned), ""]
        else:
            lines += ["No fields of its own.", ""]
    lines += ["## Not yet", "", "Accepted, answered with a warning ([gaps.md](gaps.md)).", ""]
    lines += [*(f"- `{path}`" for path in missing), ""]
    return "\n".join(lines)


FIELDS_HEAD = ("| Field | State | Golden | Seen |", "|---|---|---|---|")


def _field(path: str) -> str:
    own = f"{matrix.owner(path)}/"
    cases = sorted(matrix.goldens().get(path, ()), key=lambda case: not case.startswith(own))
    tests = matrix.tests().get(path, ())
    reason = matrix.reason(path)
    state = "works" if tests else "golden only"
    golden = f"[{cases[0]}](../tests/golden/{cases[0]})" if cases else ""
    golden += f" +{len(cases) - 1}" if len(cases) > 1 else ""
    seen = "<br>".join(f"`{test}`" for test in tests) or reason or ""
    return f"| `{path}` | {state} | {golden} | {seen} |"


BEYOND_FIELDS = (
    (
        "Live migration",
        "VirtualMachineInstanceMigration objects are accepted; nothing acts on them. "
        "LiveMigratable is always False, and says so.",
    ),
    (
        "Eviction",
        "a guest that would migrate is kept and its drain told so, until live migration is there; "
        "so is one on a node with the drain taint. External guests hear of evictions only.",
    ),
    (
        "Node failure",
        "a node is fenced by its taint or its deletion, not by Virtpod, and its volumes are "
        "detached by Kubernetes; while a lost node has one attached, no guest starts with it.",
    ),
    (
        "Host devices",
        "those of claims, and GPUs, come with a start only; claims of binding plugins' networks "
        "are refused. What was seen: offers, set-up, faults, "
        "allocation by a real kubelet and domains that libvirt takes, over a sysfs made by the "
        "tests; and, emulated ones, a virtual function of a network card and an NVMe disk on the "
        "node that `make test-hostdev` boots: offered, allotted, given to a VMI at its start and "
        "to another that runs, driven by their guests, and let go again. A virt-handler that "
        "starts after a device has failed by AER counts from then on.",
    ),
    (
        "Memory and CPU of the node's own",
        "dedicated CPUs, hugepages, realtime and SEV are drawn, and their domains checked "
        "against libvirt, but no guest was seen with them, for want of a host that has them; "
        "of SEV's attestation libvirt's refusals alone were seen, its answers are captured ones; "
        "TDX is drawn, but libvirt and QEMU in the launcher's image are too old for it, so no "
        "node offers it. Machines of arm64 and s390x are drawn and valid by libvirt's schema; "
        "their QEMU is not in the image.",
    ),
    (
        "Serial console log",
        "kept where logSerialConsole: true asks for it, and not by default (ADR 0011).",
    ),
    (
        "Vsock",
        "numbers, device, stream, TLS and the CA's bundle are there and tested over sockets of "
        "other kinds; no guest was seen with it, for want of a host with vhost_vsock.",
    ),
    (
        "Secondary networks",
        "Multus is the administrator's to install. Networks that a running machine gets or loses "
        "are asked for in its pod's annotation; a controller of dynamic networks is to make the "
        "links: the local cluster has one of its own. SR-IOV functions are drawn from what Multus "
        "notes of the pod, or a resource claim's driver; none was passed through in earnest but in "
        "`make test-hostdev`. No VLAN was seen: it is the definition's matter, and the tests' "
        "kernel has neither 802.1Q links nor bridges that filter VLANs.",
    ),
    (
        "Network binding plugins",
        "guests with such interfaces do not migrate, whatever `migration` of the plugin says; of "
        "`computeResourceOverhead` the memory counts.",
    ),
    (
        "Guest agent",
        "one that is older than QEMU 5.2 cannot be given SSH keys; the condition "
        "AccessCredentialsSynchronized says so.",
    ),
    (
        "Kinds without a controller",
        "objects of these are stored, with a warning, and nothing acts on them: "
        + ", ".join(kind.kind for kind in unattended.kinds())
        + ".",
    ),
    (
        "Interfaces",
        "bridge tells the guest its IPv4 address; of IPv6 the network's own router tells it. passt "
        "maps the pod's gateway to the pod itself, as with KubeVirt, and tells the guest no name. "
        "A pod's own address changes with each start, unless it is asked to "
        "stay (ADR 0013); of the IPAMs that can be asked, host-local was run, in Calico's words "
        "and by Multus; Calico, Kube-OVN and Antrea were not. A guest of a pod with IPv6 alone was "
        "seen in a launcher of the tests' own; no cluster of IPv6 alone was. What a binding "
        "plugin says of migration is checked, and waits for live migration.",
    ),
    (
        "Default network",
        "a VMI that names no network gets masquerade where KubeVirt would choose bridge; the "
        "KubeVirt object's network.defaultNetworkInterface: bridge makes it as there.",
    ),
    (
        "Hotplug",
        "with cgroup v2 a container's device program is replaced; that was seen in a kernel that "
        "has v2 beside v1, not yet under a kubelet on v2. A systemd that reloads puts its own "
        "rules back, which does not touch disks that are open.",
    ),
    (
        "Live updates",
        "volumes and network cards that come and go, and cables, follow a VM's template; every "
        "other change waits for its next start, and condition RestartRequired says which. "
        "maxSockets and maxGuest make room in the machine; neither gets a default, as room costs "
        "the guest memory.",
    ),
    (
        "WaitAsReceiver",
        "its instance stands in WaitingForSync; no guest can move in before there is live "
        "migration.",
    ),
    (
        "KubeVirt object",
        "what it takes without effect is below; LiveMigrate among the workloadUpdateMethods waits "
        "for live migration. TLS older than 1.2 is never spoken.",
    ),
    (
        "virtctl",
        "vmexport and memory-dump download are there, and tested against a server of the tests' "
        "own, but no controller serves VirtualMachineExports yet, which they say; image-upload "
        "needs CDI in the cluster, and was tested against a server of the tests' own; template "
        "process --file works by itself, its other ways need virt-template in the cluster; migrate "
        "asks, and is told that guests do not move yet.",
    ),
    (
        "Metrics",
        "each component exports its queues and requests, virt-controller what machines there are "
        "and how they are, virt-handler what libvirt and the guests' agents count; the dirty rate "
        "of guests (each reading is a calculation that QEMU has to do first), their GPUs (whose "
        "UUIDs only the maker's driver knows), migrations and snapshots are not there; a panic is "
        "counted without its type and code; the guest's load is there with a guest agent of QEMU "
        "10 and newer, and what is derived of containers and claims with kube-state-metrics.",
    ),
    (
        "Nodes without /dev/vhost-net",
        "take guests only with useEmulation, as with KubeVirt; no guest was seen with vhost-net, "
        "for want of a kernel that has it.",
    ),
    ("Architectures", "images are built for amd64."),
)


EXTENSIONS = (
    (
        "Condition Obstructed",
        "on VMs and VMIs: what keeps them from running, and what to do; `virtctl why` tells more "
        "([why.md](why.md)).",
    ),
    (
        "Shared displays",
        "`virtualmachineinstances/NAME/vnc?shared=true` (`virtctl vnc --shared`): viewers who ask "
        "for it look together, where KubeVirt lets the newest push out the others.",
    ),
    (
        "MAC addresses",
        "one that nobody names follows from the machine and the interface, so that a VM's guest "
        "has the same after each restart ([networking.md](networking.md)); where the guest has the "
        "pod's, the CNI is asked for it.",
    ),
    (
        "Addresses that stay",
        "annotation `virtpod.io/keep-addresses` of a VM's template: the guest's addresses are "
        "remembered and asked for at each start; condition AddressesKept "
        "([networking.md](networking.md#addresses-that-stay)).",
    ),
    (
        "IPv6 behind masquerade",
        "the guest learns its router by router advertisements, where KubeVirt wants a static "
        "route in its configuration.",
    ),
    (
        "Roles",
        "kubevirt.io:admin, :edit and :view also grant the first word of `evacuate/cancel` and "
        "`sev/...`, which is all that Kubernetes' API server looks at.",
    ),
    (
        "Kinds of devices.virtpod.io",
        "QATNodePolicy and QATNodeState: how nodes' QAT devices shall be, and how they are "
        "([qat.md](qat.md)).",
    ),
    (
        "Condition HostDevicesHealthy",
        "on VMIs that have devices of their node: whether these work, and which does not.",
    ),
    (
        "Condition HostDeviceTargets",
        "on VMIs whose devices of the node can save their state: which other nodes have the same, "
        "or which device has no other node ([qat.md](qat.md#moving-to-another-node)).",
    ),
    (
        "Devices that come and go",
        "a VM's `hostDevices` are followed while its guest runs; condition HostDevicesPlugged of "
        "the VMI says how far that is ([qat.md](qat.md#while-the-guest-runs)).",
    ),
    (
        "Condition Ready of kinds without a controller",
        "False, with reason NotImplemented.",
    ),
)


def gaps() -> str:
    """What is not there yet: fields first, then what is no field."""
    lines = [
        "# Gaps",
        "",
        "Made by `make docs` from `src/virtpod/features/not_yet.txt` and `scripts/docs.py`.",
        "",
        "## Fields that are accepted and have no effect",
        "",
        "Below `spec` of a VirtualMachineInstance. Admission answers each with a warning; a volume",
        "source or network binding among them is refused, for a guest could not start with it.",
        "",
        *(f"- `{path}`" for path in not_yet()),
        "",
        "## What the KubeVirt object takes without effect",
        "",
        "Below its `spec` ([configuration.md](configuration.md)). virt-operator answers with a",
        "warning.",
        "",
        *knobs.without(),
        "",
        "## Subresources that answer 501",
        "",
        *(
            f"- `{method} {kind}/NAME/{path}`: {text}"
            for kind, table in (
                ("virtualmachines", later.VM_LATER),
                ("virtualmachineinstances", later.VMI_LATER),
            )
            for (method, path), text in table.items()
        ),
        "",
        "## Beside the fields",
        "",
        *(f"- **{name}**: {text}" for name, text in BEYOND_FIELDS),
        "",
        "## Devices: what containers had and virtual machines had not",
        "",
        "C1 to C7 were there for containers with QAT and not for virtual machines; G1 to G15 no",
        "system closed. Tests are below `tests/`.",
        "",
        *device_gaps.table(),
        "",
        "## What there is beyond KubeVirt's API",
        "",
        *(f"- **{name}**: {text}" for name, text in EXTENSIONS),
        "",
    ]
    return "\n".join(lines)


STATES = {
    "runs": "it runs",
    "waits": "it is on its way",
    "halted": "somebody, or something, wants it so",
    "broken": "it shall run and cannot",
}


def why() -> str:
    """Every reason for which a VM does not run, in the order in which they are asked."""
    lines = [
        "# Why is it not running?",
        "",
        "Made by `make docs` from `src/virtpod/controllers/why`.",
        "",
        "`virtctl why vm NAME` (or `vmi`) says the one true reason, what to do, and what shows it;",
        "with `-o json` for programs, which may rely on the codes. Its exit code is 0 when the VM",
        "runs and 1 otherwise. While a VMI does not run and is broken, its condition",
        f"`{OBSTRUCTED}` has the code as reason, sentence and remedy as message; the VM has",
        "it too.",
        "",
        "The first that fits is the reason: what is deeper stands before what follows from it.",
        "",
        "| Code | State | What it means | What to do |",
        "|---|---|---|---|",
        *(f"| `{rule.code}` | {rule.state} | {rule.about} | {rule.remedy} |" for rule in RULES),
        "",
        "States: " + "; ".join(f"`{state}`: {about}" for state, about in STATES.items()) + ".",
        "",
        "Where more is known than the table says (which image, which claim, how much memory is",
        "left) the sentence has it, and the remedy is of that very case.",
        "",
    ]
    return "\n".join(lines)


PAGES = {
    "advisories.md": advisories.page,
    "api.md": reference.page,
    "configuration.md": knobs.page,
    "features.md": features,
    "gaps.md": gaps,
    "instancetypes.md": instancetypes.page,
    "monitoring/dashboard.json": observability.grafana,
    "monitoring/rules.yaml": observability.rules,
    "monitoring/service-monitor.yaml": observability.service_monitor,
    "observability.md": observability.page,
    "virtctl.md": virtctl.page,
    "vm-pod-lifecycle.md": lifecycle.page,
    "why.md": why,
}


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(DOCS / name)


if __name__ == "__main__":
    main()
