"""Devices of the node that the guest has to itself: PCI functions, mediated devices, USB, GPUs.

Virtual functions of one physical function sit together in one slot of the guest's: drivers that
look for siblings (qatlib) find them there. https://libvirt.org/formatdomain.html#host-device-assignment,
https://intel.github.io/quickassist/qatlib/install.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise

from virtpod.api.hostdevices import GPU, HostDevice, VGPUDisplayOptions
from virtpod.api.traits import VFIO_OVERHEAD, VIOMMU, brought_devices, plugged
from virtpod.api.vmi import VirtualMachineInstance as VMI
from virtpod.domain.facts import Cluster, DeviceMissing, GivenDevice, Guest
from virtpod.domain.qat import SERVICES, service
from virtpod.domain.xml import E, Element
from virtpod.features.contract import (
    DUPLICATE,
    REQUIRED,
    UNSUPPORTED,
    Cause,
    Feature,
    PodPart,
)
from virtpod.wire.messages import DomainChanged, OwnDevice

GATE = "HostDevices"
QAT = "qat.intel.com/"
GENERIC = f"{QAT}generic"
"""The functions before generation 4, which need no qatlib in the guest."""
WORDS = {"generic", *(service(each) for n in (1, 2, 3) for each in combinations(SERVICES, n))}
"""What resources can be called after."""
QAT_VFIO = "qat_vfio_pci"
BY_QAT_VFIO = {"8086:4941": "6.10", "8086:4943": "6.10", "8086:4945": "6.10", "8086:4949": "6.17"}
"""vendor:product of virtual functions whose state that driver saves, and since which Linux."""
IN_USER_SPACE = frozenset(f"8086:{each}" for each in ("4941", "4943", "4945", "4947", "4949"))
"""vendor:product of virtual functions that it has none for."""
FUNCTIONS = 8
"""Of one slot."""
FIRST_BUS = 1
"""The first guest buses are ours: libvirt fills up with its own whatever lies below one that is
named."""

Asked = list[HostDevice | GPU]


def asked(vmi: VMI) -> Asked:
    devices = vmi.spec.domain.devices
    return [*(devices.gpus or ()), *(devices.host_devices or ())]


def validate(part: Asked, vmi: VMI, cluster: Cluster) -> Iterable[Cause]:
    permitted = _permitted(cluster)
    seen: dict[str, str] = {}
    devices = vmi.spec.domain.devices
    if any(not _claims(each) for each in devices.host_devices or ()) and GATE not in cluster.gates:
        yield Cause(
            "spec.domain.devices.hostDevices",
            f"{GATE} feature gate is not enabled in the KubeVirt object's "
            "configuration.developerConfiguration.featureGates",
            UNSUPPORTED,
        )
    for where, device in _placed(vmi):
        if not device.name:
            yield Cause(f"{where}.name", f"{where} must have a name", REQUIRED)
        elif device.name in seen:
            message = f"{seen[device.name]} and {where} must not have the same name"
            yield Cause(f"{where}.name", message, DUPLICATE)
        seen.setdefault(device.name, where)
        if _claims(device):  # the rest is for feature resource_claims to say
            if device.device_name:
                message = (
                    f"{where} has both deviceName and a resource claim: it is one device; keep "
                    "deviceName, or claimName and requestName"
                )
                yield Cause(f"{where}.deviceName", message)
        elif not device.device_name:
            message = (
                f"{where} must name its resource, such as qat.intel.com/cy, or have claimName and "
                "requestName"
            )
            yield Cause(f"{where}.deviceName", message, REQUIRED)
        elif device.device_name not in permitted and not _of_qat(device.device_name, cluster):
            yield Cause(
                f"{where}.deviceName",
                f"HostDevice {device.device_name} is not permitted in permittedHostDevices "
                "configuration",
                UNSUPPORTED,
            )
    if len({_claims(gpu) for gpu in devices.gpus or ()}) > 1:
        yield Cause(
            "spec.domain.devices.gpus",
            "spec.domain.devices.gpus contains both DRA and non-DRA GPUs; each GPU must be either "
            "DRA or non-DRA",
        )
    frames = [
        where
        for where, device in _placed(vmi)
        if isinstance(device, GPU) and _display(device) is not None and _ram_fb(device)
    ]
    if len(frames) > 1:
        message = "only one GPU may have a ramFB: turn it off for the others"
        yield Cause(f"{frames[-1]}.virtualGPUOptions.display.ramFB", message)


def warn(part: Asked, vmi: VMI, cluster: Cluster) -> Iterable[str]:
    yield from _misnamed(vmi, cluster)
    yield from _without_iommu(vmi, cluster)


def _misnamed(vmi: VMI, cluster: Cluster) -> Iterable[str]:
    """No node will ever offer such a resource, and the pod would wait for one."""
    permitted = _permitted(cluster)
    for where, device in _placed(vmi):
        name = device.device_name or ""
        if name.startswith(QAT) and name not in permitted and name.removeprefix(QAT) not in WORDS:
            yield (
                f"{where.removeprefix('spec')}: no QAT device is offered as {name}: cy is for sym "
                f"and asym; otherwise join {', '.join(SERVICES)} by hyphens, in this order"
            )


def _without_iommu(vmi: VMI, cluster: Cluster) -> Iterable[str]:
    """QAT from generation 4 on has no driver in a guest's kernel."""
    memory = vmi.spec.domain.memory
    if VIOMMU in (vmi.metadata.annotations or {}) or (memory and memory.hugepages):
        return
    wanting = _in_user_space(cluster)
    for where, device in _placed(vmi):
        name = device.device_name or ""
        if name in wanting or (name.startswith(QAT) and name != GENERIC):
            yield (
                f"{where.removeprefix('spec')}: QAT of generation 4 and later is used by qatlib "
                "over VFIO, in the guest too: give it an IOMMU by the annotation "
                f"{VIOMMU}: intel, or have memory.hugepages and load the guest's vfio module with "
                "enable_unsafe_noiommu_mode=1"
            )
            return


def _in_user_space(cluster: Cluster) -> set[str]:
    """Resources of such functions, whatever the cluster calls them."""
    given = cluster.config.permitted_host_devices
    return {
        device.resource_name
        for device in (given and given.pci_host_devices) or ()
        if device.pci_vendor_selector.lower() in IN_USER_SPACE
    }


def _claims(device: HostDevice | GPU) -> bool:
    """Whether it comes out of a resource claim."""
    return device.claim_name is not None or device.request_name is not None


def _permitted(cluster: Cluster) -> set[str]:
    given = cluster.config.permitted_host_devices
    if given is None:
        return set()
    kinds = (given.pci_host_devices, given.mediated_devices, given.usb)
    return {device.resource_name for kind in kinds for device in kind or ()}


def _of_qat(resource: str, cluster: Cluster) -> bool:
    """Whether our own discovery offers it."""
    return resource.startswith(QAT) and "QAT" in cluster.gates


def _placed(vmi: VMI) -> Iterator[tuple[str, HostDevice | GPU]]:
    devices = vmi.spec.domain.devices
    for index, gpu in enumerate(devices.gpus or ()):
        yield f"spec.domain.devices.gpus[{index}]", gpu
    for index, device in enumerate(devices.host_devices or ()):
        yield f"spec.domain.devices.hostDevices[{index}]", device


def pod(part: Asked, vmi: VMI, cluster: Cluster) -> PodPart:
    counted: defaultdict[str, int] = defaultdict(int)
    brought = brought_devices(vmi)
    for device in brought:
        if not _claims(device):
            counted[device.device_name or ""] += 1
    limits = {name: str(count) for name, count in counted.items()}
    return PodPart(limits=limits, overhead=VFIO_OVERHEAD if brought else 0)


def late(vmi: VMI) -> list[HostDevice]:
    """Those that are plugged into the guest when it runs."""
    names = plugged(vmi.metadata.annotations)
    return [each for each in vmi.spec.domain.devices.host_devices or () if each.name in names]


def plug(device: HostDevice, given: Sequence[GivenDevice]) -> list[Element]:
    """What to plug in for one of these; libvirt finds it a port. `given`: what its own pod was."""
    return [
        _hostdev(device, each, _alias(device, number), None, display=False)
        for number, each in enumerate(given)
    ]


def devices(part: Asked, vmi: VMI, facts: Guest) -> Iterable[Element]:
    pairs = list(_given(brought_devices(vmi), facts))
    places = _places([each for _, given in pairs for each in given])
    yield from (
        E("controller", type="pci", index=bus, model="pcie-root-port")
        for bus in sorted({bus for bus, _, _ in places.values()})
    )
    said = any(isinstance(device, GPU) and _display(device) is not None for device in part)
    framed = False
    for device, given in pairs:
        for number, each in enumerate(given):
            frame = isinstance(device, GPU) and each.kind == "mdev" and not number
            # Where displays are spoken of at all, the others have none.
            frame = frame and (_display(device) is not None if said else not framed)
            alias = _alias(device, number)
            yield _hostdev(device, each, alias, places.get(each), display=frame)
            framed = framed or frame


def _alias(device: HostDevice | GPU, number: int) -> str:
    kind = "gpu" if isinstance(device, GPU) else "hostdevice"
    return f"ua-{kind}-{device.name}" + (f"-{number}" if number else "")


def _given(part: Asked, facts: Guest) -> Iterator[tuple[HostDevice | GPU, list[GivenDevice]]]:
    """What each is. Raises DeviceMissing."""
    wanted: defaultdict[str, int] = defaultdict(int)
    for device in part:
        wanted[device.device_name or ""] += 1
    shares = {name: _shares(facts.given.get(name, ()), count) for name, count in wanted.items()}
    for device in part:
        if _claims(device):
            yield device, list(_allotted(device, facts))
            continue
        name = device.device_name or ""
        if not shares[name]:
            raise DeviceMissing(
                f"{device.name}: the pod was given no device of resource {name}; its device plugin "
                "names none in the environment"
            )
        yield device, shares[name].pop(0)


def _shares(given: Sequence[GivenDevice], count: int) -> list[list[GivenDevice]]:
    """What each of so many devices is, with nothing left over; empty where there are fewer. The
    functions of an IOMMU group are one device: that is what a node gives away."""
    groups: dict[str, list[GivenDevice]] = {}
    for each in given:
        groups.setdefault(each.group or each.address, []).append(each)
    units = list(groups.values())
    if len(units) < count:
        units = [[each] for each in given]  # whoever gave them sees more in a group than one
    if len(units) < count:
        return []
    bounds = [len(units) * number // count for number in range(count + 1)]
    return [
        [each for unit in units[first:last] for each in unit] for first, last in pairwise(bounds)
    ]


def _allotted(device: HostDevice | GPU, facts: Guest) -> tuple[GivenDevice, ...]:
    """All that its request was allotted."""
    if found := facts.claimed.get(f"{device.claim_name}/{device.request_name}"):
        return found
    raise DeviceMissing(
        f"{device.name}: nobody tells which device request {device.request_name} of claim "
        f"{device.claim_name} was allotted: its DRA driver must publish attribute "
        "resource.kubernetes.io/pciBusID or mdevUUID, or give the container a VFIO device by CDI"
    )


Place = tuple[int, int, bool]
"""Bus and function in the guest, and whether the slot has several."""


def _places(given: list[GivenDevice]) -> dict[GivenDevice, Place]:
    """Where siblings sit; whoever has none sits wherever libvirt finds room."""
    families: defaultdict[str, list[GivenDevice]] = defaultdict(list)
    for each in given:
        if each.kind == "pci" and each.parent:
            families[each.parent].append(each)
    places: dict[GivenDevice, Place] = {}
    bus = FIRST_BUS
    for members in families.values():
        for first in range(0, len(members), FUNCTIONS):
            slot = members[first : first + FUNCTIONS]
            if len(members) > 1:
                for function, each in enumerate(slot):
                    places[each] = bus, function, function == 0 and len(slot) > 1
                bus += 1
    return places


def _hostdev(
    device: HostDevice | GPU,
    given: GivenDevice,
    alias: str,
    place: Place | None,
    *,
    display: bool,
) -> Element:
    if given.kind == "usb":
        bus, number = given.address.split(":")
        source = E("source", E("address", bus=bus, device=number))
        return E("hostdev", source, E("alias", name=alias), mode="subsystem", type="usb")
    if given.kind == "mdev":
        shown = display and isinstance(device, GPU) and _shown(device)
        return E(
            "hostdev",
            E("source", E("address", uuid=given.address)),
            E("alias", name=alias),
            mode="subsystem",
            type="mdev",
            model="vfio-pci",
            managed=False,
            display="on" if shown else None,
            ramfb="on" if shown and isinstance(device, GPU) and _ram_fb(device) else None,
        )
    domain, bus, rest = given.address.split(":")
    slot, function = rest.split(".")
    host = {"domain": domain, "bus": bus, "slot": slot, "function": function}
    source = E("source", E("address", **{key: f"0x{value}" for key, value in host.items()}))
    return E(
        "hostdev",
        E("driver", name="vfio", model=given.driver) if given.driver else None,
        source,
        E("alias", name=alias),
        _address(place) if place else None,
        mode="subsystem",
        type="pci",
        managed=False,
    )


def _address(place: Place) -> Element:
    bus, function, several = place
    return E(
        "address",
        type="pci",
        domain="0x0000",
        bus=f"0x{bus:02x}",
        slot="0x00",
        function=f"0x{function}",
        multifunction="on" if several else None,
    )


def _display(device: HostDevice | GPU) -> VGPUDisplayOptions | None:
    """What is said of its display; None: nothing."""
    options = device.virtual_gpu_options if isinstance(device, GPU) else None
    return options.display if options else None


def _shown(gpu: GPU) -> bool:
    """A GPU drives the display unless that is turned off."""
    display = _display(gpu)
    return display is None or display.enabled is not False


def _ram_fb(gpu: GPU) -> bool:
    display = _display(gpu)
    frame = display and display.ram_fb
    return _shown(gpu) and (not frame or frame.enabled is not False)


def blocks_migration(part: Asked, vmi: VMI, domain: DomainChanged) -> str | None:
    """Names each device that cannot go with the guest, and why."""
    own = [each for each in domain.devices if not _of_network(each, vmi)]
    stuck = [f"{each.name} ({_why(each)})" for each in own if not each.moves]
    named = {claim.name for claim in vmi.spec.resource_claims or () if claim.resource_claim_name}
    stuck += [
        f"{each.name} (claim {each.claim_name} is one ResourceClaim, which stays with its node: "
        "take a resourceClaimTemplateName)"
        for each in part
        if each.claim_name in named
    ]
    if not own:
        stuck += [f"{each.name} ({_origin(each)})" for each in part]
    if not stuck:
        return None
    return f"HostDeviceNotLiveMigratable: devices of its node stay there: {', '.join(stuck)}"


def _of_network(device: OwnDevice, vmi: VMI) -> bool:
    nics = vmi.spec.domain.devices.interfaces or ()
    return any(nic.sriov and nic.name == device.name for nic in nics)


def _why(device: OwnDevice) -> str:
    if device.kind != "pci":
        return f"a {device.kind} device {device.address}".rstrip() + " that cannot save its state"
    held = f"{device.address}, driver {device.driver or 'none'}"
    if device.id in BY_QAT_VFIO and device.driver != QAT_VFIO:
        return f"{held}: bind it to {QAT_VFIO}, of Linux {BY_QAT_VFIO[device.id]} and later"
    return f"{held}, which does not save the device's state"


def _origin(device: HostDevice | GPU) -> str:
    return f"claim {device.claim_name}" if _claims(device) else device.device_name or ""


FEATURE = Feature(
    name="host_devices",
    owns=(
        "domain.devices.hostDevices.name",
        "domain.devices.hostDevices.deviceName",
        "domain.devices.gpus.name",
        "domain.devices.gpus.deviceName",
        "domain.devices.gpus.virtualGPUOptions",
    ),
    asked=asked,
    validate=validate,
    warn=warn,
    pod=pod,
    devices=devices,
    blocks_migration=blocks_migration,
)
