"""What the launcher wants of a hypervisor: `libvirt.py` gives it, and tests have another."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from virtpod.wire.messages import (
    AgentRequest,
    Answer,
    Attest,
    Attested,
    DomainChanged,
    Measure,
    Measured,
    OwnDevice,
)

NO_PORT = "No more available PCI slots"
"""libvirt's words where a device cannot be plugged in for want of a port."""


@dataclass(frozen=True)
class PluggedDisk:
    """A disk of the running guest: its name in the guest's order, what QEMU opened ("" for a drive
    without a medium), and its XML."""

    target: str
    source: str
    xml: str
    drive: bool = False
    """A CD-ROM drive, whose medium comes and goes."""


@dataclass(frozen=True)
class Entrusted:
    """A folder with a secret's files for the guest's agent: SSH keys for `users`, or, without
    users, passwords by the names of the files."""

    folder: str
    users: tuple[str, ...] = ()


@dataclass(frozen=True)
class PluggedCard:
    """A network card of the running guest: whether its cable is pulled, and its XML."""

    down: bool
    xml: str


@dataclass(frozen=True)
class PluggedDevice:
    """A device of the node that the running guest has: its XML."""

    xml: str


class Refused(Exception):
    """The hypervisor would not do it; the text is its own."""


class StartFailed(Exception):
    """The guest cannot be started.

    `reason` is for a condition; `final`: trying again cannot help.
    """

    def __init__(self, reason: str, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.final = final


class Hypervisor(Protocol):
    """The one domain of this launcher. Every request may raise Refused."""

    @property
    def last(self) -> DomainChanged | None:
        """The state last reported; None before the first start."""

    async def serve(self, capabilities: Mapping[str, bytes]) -> None:
        """Runs until cancelled. Requests wait until it is there."""

    def version(self) -> tuple[str, str]:
        """libvirt's and QEMU's version, "" where not known."""

    async def exists(self) -> bool:
        """Whether the domain is there: started by this launcher, or found again."""

    async def places(self, xml: str) -> dict[str, str]:
        """PCI addresses (domain:bus:slot.function) that the devices of a domain would have, by the
        VMI's names of them."""

    async def create(self, xml: str, *, paused: bool = False) -> None:
        """Starts the domain; `paused`: its processors wait for `resume`."""

    async def disks(self) -> dict[str, PluggedDisk]:
        """The guest's disks, by volume."""

    async def cards(self) -> dict[str, PluggedCard]:
        """The guest's network cards, by interface."""

    async def devices(self) -> dict[str, PluggedDevice]:
        """The node's devices that the guest has by `hostDevices`, by the VMI's names; further
        functions of one have numbers behind its name."""

    async def attach(self, xml: str) -> None:
        """Plugs a device in."""

    async def update(self, xml: str) -> None:
        """Gives a device that is there other settings."""

    async def size(self, disk: PluggedDisk) -> int:
        """Bytes of the disk, as the guest sees it."""

    async def resize(self, disk: PluggedDisk, size: int) -> None:
        """Makes the disk so many bytes large, and tells the guest."""

    async def detach(self, device: PluggedDisk | PluggedCard | PluggedDevice) -> None:
        """Asks the guest to let it go; it is gone when `disks`, `cards` or `devices` has it no
        more."""

    async def shutdown(self) -> None:
        """Asks the guest to power off."""

    async def destroy(self) -> None:
        """Ends the guest now."""

    async def suspend(self) -> None:
        """Stops the guest's processors."""

    async def resume(self) -> None:
        """Lets the guest's processors go on."""

    async def retry(self) -> None:
        """Lets a guest that an I/O error has stopped go on if it can, unless the user wants it
        paused. Reported is what came of it."""

    async def reset(self) -> None:
        """Pushes the reset button."""

    async def reboot(self) -> None:
        """Asks the guest to reboot."""

    async def picture(self, *, wake: bool) -> bytes:
        """The first display as PNG; `wake`: after moving the pointer."""

    async def attest(self, request: Attest) -> Attested:
        """What AMD SEV says of the platform and of the guest, or is given for it."""

    async def dump(self, path: str) -> None:
        """Writes what is in the guest's memory into a file that is there; the guest waits."""

    async def measure(self, request: Measure) -> Measured:
        """What it has counted of the guest."""

    def owns(self, devices: tuple[OwnDevice, ...], without: Collection[str] = ()) -> None:
        """What is to be told of the node's devices that the guest has to itself: these beside those
        that it had, and `without` those of these names."""

    def entrust(self, given: tuple[Entrusted, ...]) -> None:
        """What the guest's agent is to be given as soon as there is one, and when it changes."""

    async def ask_agent(self, request: AgentRequest) -> Answer:
        """What the guest's agent answers."""
