"""The instance types and preferences that come with an installation: series times sizes, and what
guests of well-known systems like.

Names, sizes and labels are those of the set that KubeVirt ships, so that manifests and consoles
find here what they know from there:
https://github.com/kubevirt/common-instancetypes
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

VERSION = "v1.7.0"
"""Of the set that this one follows."""
GROUP = "instancetype.kubevirt.io"
OF_SET = f"{GROUP}/common-instancetypes-version"
"""Label of all of them."""
KINDS = ("VirtualMachineClusterInstancetype", "VirtualMachineClusterPreference")

SMALL = {"nano": (1, "512Mi"), "micro": (1, "1Gi"), "small": (1, "2Gi")}
MEDIUM = {"medium": (1, "4Gi")}
TWICE = {"2xmedium": (2, "4Gi")}
LARGE = {
    "large": (2, "8Gi"),
    "xlarge": (4, "16Gi"),
    "2xlarge": (8, "32Gi"),
    "4xlarge": (16, "64Gi"),
    "8xlarge": (32, "128Gi"),
}
Sizes = Mapping[str, tuple[int, str]]
"""Virtual CPUs and memory by the size's name."""

DEDICATED: Json = {"dedicatedCPUPlacement": True, "isolateEmulatorThread": True}
NUMA: Json = {"numa": {"guestMappingPassthrough": {}}}
QUIET = {
    f"{what}.crio.io": "disable"
    for what in ("cpu-load-balancing", "cpu-quota", "irq-load-balancing")
}
"""Annotations by which CRI-O leaves a pod's CPUs alone."""


@dataclass(frozen=True)
class Series:
    label: str
    """Class of the series, for those who search."""
    title: str
    about: str
    icon: str
    sizes: Sizes
    cpu: Json = field(default_factory=dict)
    memory: Json = field(default_factory=dict)
    more: Json = field(default_factory=dict)
    pages: tuple[str, ...] = ()
    """Sizes of huge pages: the first is meant where the name says none."""
    fixed: bool = False
    """No room for CPUs that are plugged in later."""


SERIES = {
    "u1": Series(
        "general.purpose",
        "General Purpose",
        "For whatever has no special needs: CPUs shared with others, 4 GiB for each as of medium.",
        "pficon-server-group",
        {**SMALL, **MEDIUM, **TWICE, **LARGE},
    ),
    "o1": Series(
        "overcommitted",
        "Overcommitted",
        "As u1, but a node sets half of the memory aside only: more machines, less certainty.",
        "pficon-virtual-machine",
        {**SMALL, **MEDIUM, **LARGE},
        memory={"overcommitPercent": 50},
    ),
    "d1": Series(
        "dedicated.vcpu",
        "Dedicated vCPU",
        "As u1, with CPUs that no other machine uses. The node's kubelet has to give them out: "
        "CPU manager policy static.",
        "pficon-server-group",
        {**SMALL, **MEDIUM, **TWICE, **LARGE},
        cpu=DEDICATED,
        more={"ioThreadsPolicy": "auto"},
    ),
    "cx1": Series(
        "compute.exclusive",
        "Compute Exclusive",
        "For computing: CPUs of one's own, the node's NUMA layout in the guest, huge pages; 2 GiB "
        "for each CPU. Needs a kubelet with CPU manager policy static, and huge pages on the node.",
        "pficon-registry",
        {
            "medium": (1, "2Gi"),
            "large": (2, "4Gi"),
            "xlarge": (4, "8Gi"),
            "2xlarge": (8, "16Gi"),
            "4xlarge": (16, "32Gi"),
            "8xlarge": (32, "64Gi"),
        },
        cpu={**DEDICATED, **NUMA},
        more={"ioThreadsPolicy": "auto"},
        pages=("2Mi", "1Gi"),
        fixed=True,
    ),
    "m1": Series(
        "memory.intensive",
        "Memory Intensive",
        "For much memory: 8 GiB for each CPU, from huge pages. Needs huge pages on the node.",
        "fa-memory",
        {
            "large": (2, "16Gi"),
            "xlarge": (4, "32Gi"),
            "2xlarge": (8, "64Gi"),
            "4xlarge": (16, "128Gi"),
            "8xlarge": (32, "256Gi"),
        },
        pages=("2Mi", "1Gi"),
    ),
    "n1": Series(
        "network",
        "Network",
        "For network functions that poll, by DPDK: CPUs of one's own that the node leaves alone, "
        "and huge pages of 1 GiB. Needs nodes that are set up for it.",
        "pficon-network",
        {
            "medium": (4, "4Gi"),
            "large": (4, "8Gi"),
            "xlarge": (8, "16Gi"),
            "2xlarge": (16, "32Gi"),
            "4xlarge": (32, "64Gi"),
            "8xlarge": (64, "128Gi"),
        },
        cpu=DEDICATED,
        more={"annotations": QUIET},
        pages=("1Gi",),
    ),
    "rt1": Series(
        "realtime",
        "Realtime",
        "For real time: CPUs of one's own under a realtime scheduler, and huge pages of 1 GiB. "
        "Needs nodes that are set up for it.",
        "pficon-server-group",
        {name: size for name, size in {**SMALL, **MEDIUM, **LARGE}.items() if name != "nano"},
        cpu={**DEDICATED, **NUMA, "realtime": {}},
        more={"annotations": QUIET},
        pages=("1Gi",),
    ),
}


def instancetypes() -> Iterator[Json]:
    for name, series in SERIES.items():
        for size, (cpus, memory) in series.sizes.items():
            for page in series.pages or ("",):
                said = size if page in series.pages[:1] or not page else f"{size}{page.lower()}"
                yield _instancetype(f"{name}.{said}", said, series, cpus, memory, page)


def _instancetype(name: str, size: str, series: Series, cpus: int, memory: str, page: str) -> Json:
    cpu = {"guest": cpus, **series.cpu, **({"maxSockets": cpus} if series.fixed else {})}
    pages = {"hugepages": {"pageSize": page}} if page else {}
    labels = {
        "class": series.label,
        "cpu": str(cpus),
        "memory": memory,
        "size": size,
        "version": "1",
        "icon-pf": series.icon,
        **{flag: "true" for flag in ("numa", "realtime", *DEDICATED) if flag in cpu},
        **({"hugepages": page} if page else {}),
    }
    notes = {f"{GROUP}/displayName": series.title, f"{GROUP}/description": series.about}
    spec = {"cpu": cpu, "memory": {"guest": memory, **series.memory, **pages}, **series.more}
    return _object(KINDS[0], name, labels, notes, spec)


# What guests like.

VIRTIO = {"preferredDiskBus": "virtio", "preferredInterfaceModel": "virtio"}
LINUX = {**VIRTIO, "preferredRng": {}}
TABLET = {
    "preferredAutoattachInputDevice": True,
    "preferredInputBus": "virtio",
    "preferredInputType": "tablet",
}
IO_THREAD = {"preferredDiskDedicatedIoThread": True}
QUEUES = {"preferredNetworkInterfaceMultiQueue": True}
SPREAD = {"preferredCPUTopology": "spread"}
DPDK = {"cpu": {**SPREAD, "spreadOptions": {"across": "SocketsCoresThreads", "ratio": 4}}}
EFI = {"firmware": {"preferredEfi": {"secureBoot": False}}}
SECURE = {
    "features": {"preferredSmm": {}},
    "firmware": {"preferredEfi": {"secureBoot": True}},
}

WINDOWS: Json = {
    "clock": {
        "preferredClockOffset": {"utc": {}},
        "preferredTimer": {
            "hpet": {"present": False},
            "hyperv": {},
            "pit": {"tickPolicy": "delay"},
            "rtc": {"tickPolicy": "catchup"},
        },
    },
    "cpu": {"preferredCPUTopology": "sockets"},
    "features": {
        "preferredAcpi": {},
        "preferredApic": {},
        "preferredHyperv": {
            **{
                enlightenment: {}
                for enlightenment in (
                    *("frequencies", "ipi", "reenlightenment", "relaxed", "reset", "runtime"),
                    *("synic", "tlbflush", "vapic", "vpindex"),
                )
            },
            "spinlocks": {"spinlocks": 8191},
            "synictimer": {"direct": {}},
        },
    },
    "preferredTerminationGracePeriodSeconds": 3600,
}
"""The hypervisor looks like Hyper-V, and updates have an hour to be installed at shutdown."""


@dataclass(frozen=True)
class Guest:
    title: str
    needs: tuple[int, str] | None
    """Virtual CPUs and memory."""
    devices: Json
    icon: str = ""
    """Of a console; by default named as what stands before the first dot."""
    spec: Json = field(default_factory=dict)
    system: str = "linux"
    arch: str = ""


def _linux() -> Iterator[tuple[str, Guest]]:
    yield "alpine", Guest("Alpine", (1, "512Mi"), LINUX)
    yield "cirros", Guest("Cirros", (1, "256Mi"), LINUX)
    yield "debian", Guest("Debian", (1, "512Mi"), LINUX, spec=EFI)
    yield "ubuntu", Guest("Ubuntu", (1, "2Gi"), LINUX)
    yield "sles", Guest("SUSE Linux Enterprise Server", (1, "2Gi"), LINUX)
    yield "opensuse.leap", Guest("openSUSE Leap", (1, "2Gi"), LINUX, "opensuse-leap")
    tumbleweed = Guest("openSUSE Tumbleweed", (1, "2Gi"), LINUX, "opensuse-tumbleweed")
    yield "opensuse.tumbleweed", tumbleweed
    yield "oraclelinux", Guest("Oracle Linux", (2, "4Gi"), LINUX, "oracle", EFI)
    yield "linux", Guest("Linux", None, LINUX)
    yield "linux.efi", Guest("Linux with EFI", None, LINUX, spec=EFI)
    old = {**LINUX, "preferredUseVirtioTransitional": True}
    yield "linux.virtiotransitional", Guest("Linux with an old virtio", None, old)
    legacy = {"preferredDiskBus": "sata", "preferredInterfaceModel": "e1000"}
    yield "legacy", Guest("A system without virtio", None, legacy, "other", system="legacy")


def _enterprise() -> Iterator[tuple[str, Guest]]:
    """Red Hat's, and what is made of the same."""
    threaded, least = {**LINUX, **IO_THREAD}, (1, "1.5Gi")
    for number in ("9", "10"):
        name, title = f"centos.stream{number}", f"CentOS Stream {number}"
        yield name, Guest(title, least, threaded)
        yield f"{name}.desktop", Guest(f"{title}, desktop", least, {**threaded, **TABLET})
    polling = {**threaded, **QUEUES}
    yield "centos.stream9.dpdk", Guest("CentOS Stream 9, DPDK", (8, "1.5Gi"), polling, spec=DPDK)
    for arch in ("amd64", "arm64", "s390x"):
        suffix = "" if arch == "amd64" else f".{arch}"
        boot = SECURE if arch == "amd64" else {}
        fedora = Guest(f"Fedora ({arch})", (1, "2Gi"), LINUX, spec=boot, arch=arch)
        yield f"fedora{suffix}", fedora
        for number in ("9", "10"):
            title = f"Red Hat Enterprise Linux {number} ({arch})"
            yield f"rhel.{number}{suffix}", Guest(title, least, threaded, spec=boot, arch=arch)
    rhel = "Red Hat Enterprise Linux"
    for number, memory in (("7", "1Gi"), ("8", "1.5Gi")):
        yield f"rhel.{number}", Guest(f"{rhel} {number}", (1, memory), LINUX)
        desktop = Guest(f"{rhel} {number}, desktop", (1, memory), {**LINUX, **TABLET})
        yield f"rhel.{number}.desktop", desktop
    yield "rhel.8.dpdk", Guest(f"{rhel} 8, DPDK", (8, "1.5Gi"), {**LINUX, **QUEUES}, spec=DPDK)
    yield (
        "rhel.9.desktop",
        Guest(f"{rhel} 9, desktop", least, {**threaded, **TABLET}, spec=SECURE, arch="amd64"),
    )
    dpdk = {**SECURE, **DPDK}
    yield (
        "rhel.9.dpdk",
        Guest(f"{rhel} 9, DPDK", (8, "1.5Gi"), polling, spec=dpdk, arch="amd64"),
    )
    bare = {
        "preferredAutoattachGraphicsDevice": False,
        "preferredAutoattachMemBalloon": False,
        "preferredAutoattachSerialConsole": True,
    }
    spread = {"cpu": {**SPREAD, "spreadOptions": {"across": "SocketsCoresThreads"}}}
    yield (
        "rhel.9.realtime",
        Guest(
            f"{rhel} 9, realtime",
            (4, "4Gi"),
            {**polling, **bare},
            spec={**SECURE, **spread},
            arch="amd64",
        ),
    )


def _windows() -> Iterator[tuple[str, Guest]]:
    """By name: its title, its needs, whether it boots securely, and whether it wants a TPM."""
    table = {
        "xp": ("XP", (1, "128Mi"), False, False),
        "7": ("7", (1, "2Gi"), False, False),
        "10": ("10", (1, "2Gi"), True, False),
        "11": ("11", (2, "4Gi"), True, True),
        "2k3": ("Server 2003", (1, "256Mi"), False, False),
        "2k8": ("Server 2008 and 2008 R2", (1, "512Mi"), False, False),
        "2k12": ("Server 2012 and 2012 R2", (1, "512Mi"), False, False),
        "2k16": ("Server 2016", (1, "2Gi"), True, False),
        "2k19": ("Server 2019", (1, "2Gi"), True, False),
        "2k22": ("Server 2022", (1, "2Gi"), True, True),
        "2k25": ("Server 2025", (1, "2Gi"), True, True),
    }
    cards = {"2k3": "rtl8139", "2k8": "e1000"}
    for short, (title, needs, secure, tpm) in table.items():
        name, old = f"windows.{short}", short in ("xp", "2k3")
        spec = {**WINDOWS}
        if secure:
            efi = {"secureBoot": True, **({"persistent": True} if tpm else {})}
            spec["firmware"] = {"preferredEfi": efi}
            spec["features"] = {**WINDOWS["features"], "preferredSmm": {}}
        if old:  # they know no addresses beyond 4 GiB
            spec["annotations"] = {"kubevirt.io/disablePCIHole64": "true"}
        chip = {"preferredTPM": {"persistent": True}} if tpm else {}
        emulated = {
            "preferredAutoattachInputDevice": True,
            "preferredDiskBus": "sata",
            "preferredInterfaceModel": cards.get(short, "e1000e"),
            **chip,
        }
        yield (
            name,
            Guest(f"Microsoft Windows {title}", needs, emulated, spec=spec, system="windows"),
        )
        if not old:
            drivers = {**VIRTIO, **TABLET, "preferredVideoType": "virtio", **chip}
            yield (
                f"{name}.virtio",
                Guest(
                    f"Microsoft Windows {title} (virtio)",
                    needs,
                    drivers,
                    spec=spec,
                    system="windows",
                ),
            )


def preferences() -> Iterator[Json]:
    for each in (_linux(), _enterprise(), _windows()):
        for name, guest in each:
            yield _preference(name, guest)


def _preference(name: str, guest: Guest) -> Json:
    requirements: Json = {"architecture": guest.arch} if guest.arch else {}
    labels = {"os-type": guest.system}
    if guest.needs is not None:
        cpus, memory = guest.needs
        requirements |= {"cpu": {"guest": cpus}, "memory": {"guest": memory}}
        labels |= {"required-cpu": str(cpus), "required-memory": memory}
    if guest.arch:
        labels |= {
            "arch": guest.arch,
            "preferred-architecture": guest.arch,
            "required-architecture": guest.arch,
        }
    icon = guest.icon or name.partition(".")[0]
    notes = {
        "openshift.io/display-name": guest.title,
        "iconClass": f"icon-{icon}",
        "tags": f"hidden,kubevirt,{icon}",
    }
    spec = {
        **guest.spec,
        "annotations": {"vm.kubevirt.io/os": guest.system, **guest.spec.get("annotations", {})},
        "devices": guest.devices,
        **({"preferredArchitecture": guest.arch} if guest.arch else {}),
        **({"requirements": requirements} if requirements else {}),
    }
    return _object(KINDS[1], name, labels, notes, spec)


def _object(
    kind: str, name: str, labels: Mapping[str, str], notes: Mapping[str, str], spec: Json
) -> Json:
    own = {f"{GROUP}/{label}": value for label, value in labels.items()}
    return {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": kind,
        "metadata": {
            "name": name,
            "labels": {**own, f"{GROUP}/vendor": "kubevirt.io", OF_SET: VERSION},
            "annotations": dict(notes),
        },
        "spec": spec,
    }


def wanted(cr: Mapping[str, Any]) -> bool:
    """Whether a KubeVirt object has them installed: unless it says otherwise."""
    configuration = (cr.get("spec") or {}).get("configuration") or {}
    deployment = configuration.get("commonInstancetypesDeployment") or {}
    return deployment.get("enabled") is not False


def objects(cr: Mapping[str, Any]) -> list[Json]:
    """What virt-operator makes."""
    return [*instancetypes(), *preferences()] if wanted(cr) else []


def surplus(cr: Mapping[str, Any], found: Iterable[Mapping[str, Any]]) -> list[Json]:
    """Of what there is of the set's kinds: what virt-operator made once and is not wanted any more.
    A copy that a user made under another name is not virt-operator's, whatever its labels say."""
    if wanted(cr):
        return []
    ours = {(each["kind"], each["metadata"]["name"]) for each in (*instancetypes(), *preferences())}
    return [
        dict(each)
        for each in found
        if (each["kind"], each["metadata"]["name"]) in ours
        and OF_SET in (each["metadata"].get("labels") or {})
    ]
