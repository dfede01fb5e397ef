"""How a QAT device gets from what it is to what its policy says: pure, one round at a time.

Each round looks at what there is and names the next steps, so that it may break off anywhere. A
device's services are chosen while it is down and has no virtual functions; the number of these goes
from one to another by nought, and each is bound to its driver by `driver_override`. What a pod, a
guest or a process of the node holds is never touched, nor anything while that is not known.

Rate limits come last; they may change under whoever has a function.

https://docs.kernel.org/admin-guide/abi-testing.html (sysfs-driver-qat, sysfs-bus-pci)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from virtpod.api.qat import QATDeviceSelector, QATNodePolicy, QATNodePolicySpec
from virtpod.domain import qat, qat_rates
from virtpod.domain.steps import WriteAttribute
from virtpod.node.devices import rates
from virtpod.node.devices.qat import Engine
from virtpod.node.devices.sysfs import DEVICES, DRIVERS, Function

DONE = "AsConfigured"
Policy = QATNodePolicySpec


@dataclass(frozen=True)
class Surroundings:
    """What the next steps depend on beside the device."""

    functions: Mapping[str, Function]
    held: Mapping[str, str] | None
    """Who has each PCI function, by its address; None: the kubelet does not tell."""
    drivers: frozenset[str]
    """The drivers that are loaded."""
    deny_list: bool = True
    """vfio-pci refuses the functions on its deny list."""


@dataclass(frozen=True)
class Round:
    """`reason`, in one word, and `message`: how far the device is. Steps touch the functions
    `touched`, the physical one among them, which nobody may get meanwhile."""

    reason: str
    message: str = ""
    steps: tuple[WriteAttribute, ...] = ()
    touched: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        return self.reason == DONE


def policies(objects: Iterable[QATNodePolicy], labels: Mapping[str, str]) -> dict[str, Policy]:
    """Those for a node with these labels, by name."""
    found = {}
    for each in objects:
        wanted = each.spec.node_selector or {}
        if each.metadata.name and wanted.items() <= labels.items():
            found[each.metadata.name] = each.spec
    return found


def chosen(engine: Engine, given: Mapping[str, Policy]) -> list[str]:
    """The names of the policies that are for this device."""
    return sorted(name for name, spec in given.items() if _selects(spec, engine))


def _selects(spec: Policy, engine: Engine) -> bool:
    selector = spec.device_selector or QATDeviceSelector()
    return all(
        asked is None or own in asked
        for asked, own in (
            (selector.addresses, engine.address),
            (selector.models, engine.model.name),
            (selector.numa_nodes, engine.function.numa),
        )
    )


def decide(engine: Engine, wanted: Policy, around: Surroundings) -> Round:
    """The next round."""
    found = _impossible(engine, wanted, around) or _next(engine, wanted, around)
    if not found.done and (holders := _holders((engine.address,), around)):
        return holders  # it may lack what it has with its own driver, so this comes first
    return found


def _next(engine: Engine, wanted: Policy, around: Surroundings) -> Round:
    steps = _whole(engine, wanted)
    touched = (engine.address, *engine.function.children)
    if steps == [WriteAttribute(f"{_folder(engine)}/qat/state", "up")]:
        touched = (engine.address,)  # whoever has its virtual functions has waited for this
    if not steps:
        touched = ()
        if engine.function.children and wanted.driver:
            touched = _strangers(engine, wanted.driver, around)
            steps = [step for each in touched for step in _bound(around, each, wanted.driver)]
    resets = wanted.auto_reset
    if not steps and resets is not None and engine.auto_reset is (not resets):
        value = "on" if resets else "off"
        steps = [WriteAttribute(f"{_folder(engine)}/qat/auto_reset", value)]
    if not steps and wanted.rate_limits is not None:
        steps = rates.steps(engine, wanted.rate_limits)
    if not steps:
        return Round(DONE)
    if around.held is None:
        return Round("HoldersUnknown", "The kubelet does not tell which devices pods have; waiting")
    return _holders(touched, around) or Round(
        "InProgress", "It is being set up", tuple(steps), touched
    )


def _holders(addresses: Iterable[str], around: Surroundings) -> Round | None:
    """None: no pod has any of these."""
    held = around.held or {}
    if not (holders := sorted({f"{each} ({held[each]})" for each in addresses if each in held})):
        return None
    return Round(
        "InUse",
        f"It is set up otherwise once these are free: {', '.join(holders)}; "
        "stop their guests, or move the device out of the policy",
    )


def _impossible(engine: Engine, wanted: Policy, around: Surroundings) -> Round | None:
    """What no write would bring about."""
    model = engine.model
    if not engine.function.driver:
        whose = "which is Intel's and not in Linux"
        if model.module:
            since = " 6.16 and later" if model.generation >= 6 else ""
            whose = f"of Linux{since} ({model.module})"
        return Round(
            "NoDriver",
            f"No driver has the physical function: load that of {model.name}, {whose}, and look at "
            "the kernel's log for its firmware",
        )
    if wanted.services is not None:
        if reason := qat.unfit(wanted.services, model):
            return Round("Unfit", f"spec.services: {reason}")
        if not engine.choosable:
            return Round(
                "Unfit",
                f"Driver {engine.function.driver} offers no choice of services (qat/cfg_services); "
                "it takes Linux 6.0 or newer",
            )
    if wanted.num_vfs is not None and engine.total is not None and wanted.num_vfs > engine.total:
        return Round("Unfit", f"spec.numVFs: it can have {engine.total}, not {wanted.num_vfs}")
    if wanted.num_vfs and engine.total is None:
        return Round("Unfit", "It cannot have virtual functions: enable SR-IOV in the firmware")
    if wanted.auto_reset and engine.auto_reset is None:
        return Round("Unfit", "spec.autoReset: its driver has no qat/auto_reset; leave it out")
    if wanted.rate_limits and (reason := _unlimited(engine, wanted)):
        return Round("Unfit", f"spec.rateLimits{reason}")
    driver = wanted.driver
    if driver == qat.VARIANT and not model.migratable:
        return Round("Unfit", f"spec.driver: {driver} does not know {model.name}; use {qat.VFIO}")
    if driver and driver not in around.drivers:
        module = driver.replace("-", "_")
        return Round(
            "DriverNotLoaded",
            f"spec.driver: {driver} is not loaded; run `modprobe {module}` on the node, and name "
            "it in /etc/modules-load.d",
        )
    if driver == qat.VFIO and model.denied and around.deny_list:
        return Round(
            "Denied",
            f"{driver} refuses {model.name}: load it with disable_denylist=1 "
            "(/etc/modprobe.d: options vfio-pci disable_denylist=1)",
        )
    return None


def _unlimited(engine: Engine, wanted: Policy) -> str:
    """Why it cannot have these rate limits, beginning with the field; empty: it can."""
    if not engine.model.by_service:
        return f": {engine.model.name} has none; leave them out"
    if engine.state == "up" and (engine.limits is None or not engine.rings):
        return (
            f": driver {engine.function.driver} has none (qat_rl, qat/rp2srv): it takes Linux 6.7 "
            "or newer and firmware that knows of them; update both, or leave them out"
        )
    services = wanted.services if wanted.services is not None else engine.services
    have = len(engine.function.children)
    functions = have if wanted.num_vfs is None else wanted.num_vfs
    unfit = qat_rates.unfit(wanted.rate_limits or (), services, functions)
    return f"{unfit[0]}: {unfit[1]}" if unfit else ""


def _folder(engine: Engine) -> str:
    return f"{DEVICES}/{engine.address}"


def _whole(engine: Engine, wanted: Policy) -> list[WriteAttribute]:
    """Steps that concern all virtual functions of the device."""
    folder = _folder(engine)
    have = len(engine.function.children)
    count = have if wanted.num_vfs is None else wanted.num_vfs
    other = wanted.services is not None and set(wanted.services) != set(engine.services)
    steps = []
    if have and (other or count != have):
        steps.append(WriteAttribute(f"{folder}/sriov_numvfs", "0"))
    if other and engine.state != "down":
        steps.append(WriteAttribute(f"{folder}/qat/state", "down"))
    if other and wanted.services is not None:
        steps.append(WriteAttribute(f"{folder}/qat/cfg_services", qat.setting(wanted.services)))
    if other or engine.state == "down":
        steps.append(WriteAttribute(f"{folder}/qat/state", "up"))
    if count and (other or count != have):
        steps.append(WriteAttribute(f"{folder}/sriov_numvfs", str(count)))
    return steps


def _strangers(engine: Engine, driver: str, around: Surroundings) -> tuple[str, ...]:
    """The virtual functions that have another driver, or none."""
    return tuple(
        each
        for each in engine.function.children
        if each in around.functions and around.functions[each].driver != driver
    )


def _bound(around: Surroundings, address: str, driver: str) -> list[WriteAttribute]:
    folder = f"{DEVICES}/{address}"
    steps = [WriteAttribute(f"{folder}/driver_override", driver)]
    if around.functions[address].driver:
        steps.append(WriteAttribute(f"{folder}/driver/unbind", address))
    return [*steps, WriteAttribute(f"{DRIVERS}/{driver}/bind", address)]
