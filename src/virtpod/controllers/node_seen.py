"""What virt-handler sees of a VMI on its node: the pod as the kubelet has it, the guest as its
launcher shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from virtpod.api.base import decode
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers import lifecycle, node_plug
from virtpod.controllers.lifecycle import HANDLER
from virtpod.controllers.node_devices import Ailing
from virtpod.domain.network_status import Attached
from virtpod.kube.plan import Event, Reference
from virtpod.kube.resources import VMIS, going
from virtpod.wire.messages import DomainChanged

Json = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """The VMI's pod on this node. `ended`: the compute container's exit code once it is over."""

    uid: str
    name: str
    namespace: str
    vmi_name: str = ""
    vmi_uid: str = ""
    ips: tuple[str, ...] = ()
    ready: bool = False
    running: bool = False
    ended: int | None = None
    deleting: bool = False
    kvm: bool = False
    locks: bool = False
    """QEMU may lock all of its memory."""
    grace: int = 30
    """Seconds that the guest has to power off, where no VMI tells."""
    end: str = ""
    """Why the compute container ended, as the kubelet and the launcher put it."""
    final: bool = False
    """All its containers are over: the kubelet has said what it has to say."""
    networks: tuple[Attached, ...] = ()
    """What Multus noted of them."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """ResourceClaims that were made for it from templates, by the name that its spec has."""
    ousted: bool = False
    """The kubelet took it off the node, which ran short or goes down; `end` says why."""


@dataclass(frozen=True)
class Failure:
    """Why something could not be done, in words for users. `final`: no use in trying soon."""

    reason: str
    message: str
    final: bool = False
    at: float = 0.0
    times: int = 1
    of: object = None
    """The action that failed: another one need not wait."""


@dataclass(frozen=True)
class Guest:
    """What the launcher shows. `told`: requests that it has got in this conversation."""

    connected: bool = False
    preparing: bool = False
    prepared: bool = False
    lost: bool = False
    """Its process has been seen to end."""
    lost_at: float = 0.0
    stopping: bool = False
    """Its launcher was told to end: by its node, where nobody deleted the pod."""
    domain: DomainChanged | None = None
    failure: Failure | None = None
    told: frozenset[str] = frozenset()
    grace: int | None = None
    """Seconds that the guest was given with `shutdown`."""
    there: frozenset[str] | None = None
    """Volumes that come and go and are in its container; None: not known, or it has none."""
    replugging: bool = False
    """They are being brought, plugged and taken away."""
    unplugged: Failure | None = None
    """Why that failed the last time."""
    rewiring: bool = False
    """The same of network cards."""
    unwired: Failure | None = None
    """Why that failed the last time."""
    sizes: Mapping[str, str] | None = None
    """What the launcher was told in this conversation that each claim holds."""
    growing: bool = False
    """It is being told."""
    ungrown: Failure | None = None
    """Why that failed the last time."""
    lent: frozenset[str] | None = None
    """Devices of the node that came while it runs and are in its container; None: not known, or it
    has none."""
    plugging: bool = False
    """They are being brought, plugged and taken away."""
    unlent: Failure | None = None
    """Why that failed the last time."""
    returned: frozenset[str] = frozenset()
    """Pods that held devices and were told to end."""
    dumping: bool = False
    """Its memory is being written down."""
    dumped: Mapping[str, str] = field(default_factory=dict)
    """By file of a memory dump that is over: what went wrong, "" where nothing did."""


@dataclass(frozen=True)
class Known:
    """A VMI and its pod, both there: what all rules but the first two start from."""

    vmi: Json
    pod: Pod
    guest: Guest
    now: float
    predecessor: bool = False
    ailing: tuple[Ailing, ...] | None = None
    holders: tuple[node_plug.Holder, ...] = ()

    @property
    def status(self) -> Json:
        status: Json = self.vmi.get("status") or {}
        return status

    @property
    def phase(self) -> str:
        return lifecycle.phase_of(self.vmi)

    @property
    def deleting(self) -> bool:
        return going(self.vmi)

    @property
    def typed(self) -> VirtualMachineInstance:
        return decode(self.vmi, VirtualMachineInstance)

    @property
    def domain_alive(self) -> DomainChanged | None:
        """The domain, if a guest is there."""
        domain = self.guest.domain
        if domain is None:
            return None
        waits = self.vmi["spec"].get("startStrategy") == "Paused" or bool(attestation(self.vmi))
        if not lifecycle.alive(domain, starts_paused=waits):
            return None
        return domain

    def enter(self, phase: str) -> Json:
        return lifecycle.enter(self.vmi, phase, HANDLER, self.now)

    def event(self, reason: str, message: str) -> Event:
        return Event(Reference.to(self.vmi, VMIS), "Normal", reason, message)

    def warning(self, reason: str, what: str, remedy: str) -> Event:
        return lifecycle.warning(Reference.to(self.vmi, VMIS), reason, what, remedy)

    def can_tell(self, what: str) -> bool:
        return self.guest.connected and what not in self.guest.told


def attestation(vmi: Json) -> Json:
    """What the spec says of AMD SEV, where its owner wants proof before the guest runs."""
    domain = vmi["spec"].get("domain") or {}
    sev: Json = (domain.get("launchSecurity") or {}).get("sev") or {}
    return sev if sev.get("attestation") is not None else {}
