"""The messages between virt-handler (client) and virt-launcher (server), version 1.

One connection on the launcher's unix socket carries both directions. virt-handler opens with
`Hello`; every request has an `id`, which the launcher's `Done` or `Failed` repeats; events
(`DomainChanged`, `Stopping`) come unasked and are repeated in full after each new `Hello`, so a
restarted virt-handler knows at once what runs. Identity is never in a message: the socket a
message comes in on tells which VMI it is about.

Every message is a msgspec tagged struct; unknown fields are ignored, unknown tags close the
connection. Frames: `codec.py`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

VERSION = 1


class Message(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True, tag_field="type"):
    """Anything that crosses the socket."""


# --- virt-handler to virt-launcher


class Hello(Message, frozen=True, tag="hello"):
    """Opens the conversation. The launcher answers with `Welcome`, then repeats its last event.

    `capabilities` is libvirt's capability cache of this node and QEMU build, file name to
    content, so that the launcher's libvirt need not probe QEMU again; empty if unknown.
    """

    version: int = VERSION
    node: str = ""
    capabilities: dict[str, bytes] = {}


class Sync(Message, frozen=True, tag="sync"):
    """Makes the domain what `vmi` says: starts it if it has never run, else plugs in and out the
    disks, network cards and devices that come and go, and makes those disks larger whose claims
    are. Safe to repeat.

    `vmi`: the object as JSON. `links`: what virt-handler made in the pod's network namespace.
    `cards`: of a guest that runs, network cards are what is at stake.
    """

    id: int
    vmi: msgspec.Raw
    links: list[Link] = []
    allotted: list[Allotted] = []
    """Devices of resource claims, where the guest is to have any; what a claim's driver tells the
    container itself is worth more."""
    emulation: bool = False
    cards: bool = False
    hotplugged: list[str] | None = None
    """Volumes that come and go: those whose claims are in the container now; None: they stay as
    they are."""
    plugged: list[Plugged] = []
    """Devices of the node that came while the guest runs, and are in the container now."""
    unplugged: list[str] = []
    """Those, by the VMI's names, that the guest is to let go."""


class Plugged(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """A device of the node that the guest is to get while it runs; several of one name are all of
    it."""

    name: str
    """The VMI's."""
    kind: str
    """pci, mdev or usb."""
    address: str


class Allotted(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """A device of the node that a resource claim of the pod was allotted, as the node knows it."""

    claim: str
    """The claim's name in the VMI's spec."""
    request: str
    kind: str
    """pci or mdev."""
    address: str


class Route(msgspec.Struct, omit_defaults=True, frozen=True):
    """Where packets go."""

    to: str
    """CIDR notation."""
    via: str = ""
    """The router's address; empty: it is near."""


class Link(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """One guest interface's host side, as virt-handler prepared it."""

    name: str
    """The VMI interface's name."""
    tap: str
    bridge: str = ""
    mtu: int = 1500
    mac: str = ""
    """The MAC address the guest is to have; empty: libvirt's choice."""
    addresses: tuple[str, ...] = ()
    """The pod's own, which a bridged guest is to have; CIDR notation."""
    routes: tuple[Route, ...] = ()
    """With these addresses."""
    pci: str = ""
    """The address of a function of the node's card, where the guest is given one; no tap then."""
    device: str = ""
    """The pod's own link, where the guest is joined to it without a tap and it is not eth0."""


class Shutdown(Message, frozen=True, tag="shutdown"):
    """Asks the guest to power off (ACPI or agent); kills it after `grace` seconds."""

    id: int
    grace: int


class Kill(Message, frozen=True, tag="kill"):
    """Destroys the domain now."""

    id: int


class Pause(Message, frozen=True, tag="pause"):
    """Stops the guest's CPUs."""

    id: int


class Unpause(Message, frozen=True, tag="unpause"):
    """Lets the guest's CPUs go on."""

    id: int


class Reset(Message, frozen=True, tag="reset"):
    """Resets the machine as its reset button would."""

    id: int


class Freeze(Message, frozen=True, tag="freeze"):
    """Has the agent freeze the guest's file systems; `thaw_after` seconds (0: never) it is undone
    by itself."""

    id: int
    thaw_after: float


class Thaw(Message, frozen=True, tag="thaw"):
    """Has the agent thaw the guest's file systems."""

    id: int


class AskAgent(Message, frozen=True, tag="askAgent"):
    """Asks the agent; answered by `AgentTold`."""

    id: int
    what: Literal["info", "users", "filesystems"]
    load: bool = False
    """The guest's load beside it, where its agent tells that."""


class Ping(Message, frozen=True, tag="ping"):
    """Whether the agent answers within `within` seconds: for the pod's probes."""

    id: int
    within: float


class Execute(Message, frozen=True, tag="execute"):
    """Has the agent run a program in the guest; answered by `Executed`: for the pod's probes."""

    id: int
    command: str
    arguments: list[str] = []
    within: float = 1


class SoftReboot(Message, frozen=True, tag="softreboot"):
    """Asks the guest to reboot (agent, else ACPI)."""

    id: int


class Screenshot(Message, frozen=True, tag="screenshot"):
    """Takes a picture of the first display; answered by `Pictured`. `wake`: the pointer is moved
    first, for guests that blank their screen."""

    id: int
    wake: bool = False


class Measure(Message, frozen=True, tag="measure"):
    """Asks what libvirt has counted; answered by `Measured`."""

    id: int


class Attest(Message, frozen=True, tag="attest"):
    """Asks libvirt about AMD SEV; answered by `Attested`. `what`: platform, measurement, or secret,
    which is put into the guest's memory; `header` and `secret` are base64."""

    id: int
    what: str
    header: str = ""
    secret: str = ""


class DumpMemory(Message, frozen=True, tag="dumpMemory"):
    """Writes what is in the guest's memory as an ELF file into a volume that comes and goes. Safe
    to repeat: a file is written once, and told of again."""

    id: int
    volume: str
    file: str


class Release(Message, frozen=True, tag="release"):
    """virt-handler has seen the end: the launcher may exit."""

    id: int


AgentRequest = Freeze | Thaw | AskAgent | Ping | Execute
Request = (
    Hello
    | Sync
    | Shutdown
    | Kill
    | Pause
    | Unpause
    | Reset
    | SoftReboot
    | Screenshot
    | Attest
    | Measure
    | DumpMemory
    | Release
    | AgentRequest
)

# --- virt-launcher to virt-handler


class Welcome(Message, frozen=True, tag="welcome"):
    """Answers `Hello`."""

    version: int = VERSION
    libvirt: str = ""
    qemu: str = ""


class Done(Message, frozen=True, tag="done"):
    """The request `id` was carried out."""

    id: int


class Failed(Message, frozen=True, tag="failed"):
    """The request `id` could not be carried out; `reason` and `message` are for users.

    `final`: repeating the request cannot help (a disk that is not there, XML libvirt refuses).
    """

    id: int
    reason: str
    message: str
    final: bool = False


DomainState = Literal[
    "NoState", "Running", "Blocked", "Paused", "ShuttingDown", "Shutoff", "Crashed", "PMSuspended"
]


class InterfaceSeen(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """A guest interface as the domain (or its agent) reports it."""

    name: str
    """The VMI interface's name; "" for one that only the agent knows."""
    mac: str = ""
    interface_name: str = ""
    addresses: list[str] = []
    source: str = "domain"
    down: bool = False
    """Its cable is pulled."""


class OwnDevice(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """A device of the node that the guest has to itself."""

    name: str
    """The VMI's; devices that came as several have numbers behind it from the second on."""
    kind: str
    """pci, mdev or usb."""
    address: str = ""
    id: str = ""
    """Of a PCI function: vendor:product."""
    driver: str = ""
    """The kernel's that has it."""
    services: str = ""
    """What its physical function is set up for, where it is QAT's: sym;asym."""
    moves: bool = False
    """It can save its state, and restore it elsewhere."""


class GuestOS(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """What the agent says of the guest's operating system."""

    id: str = ""
    name: str = ""
    pretty_name: str = ""
    version: str = ""
    version_id: str = ""
    kernel_release: str = ""
    kernel_version: str = ""
    machine: str = ""


class GuestUser(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Somebody who is logged in."""

    name: str
    domain: str = ""
    login_time: float = 0


class GuestDisk(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """A disk below a file system."""

    bus: str = ""
    serial: str = ""


class GuestFileSystem(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """A mounted file system of the guest."""

    name: str
    mount_point: str = ""
    type: str = ""
    used: int = 0
    total: int = 0
    disks: list[GuestDisk] = []


class AgentTold(Message, frozen=True, tag="agentTold"):
    """Answers `AskAgent`: what was asked for is filled in. All of it is the guest's own word,
    already cut to a bearable size."""

    id: int
    version: str = ""
    commands: list[str] = []
    """Those that are enabled."""
    hostname: str = ""
    timezone: str = ""
    frozen: bool = False
    os: GuestOS | None = None
    users: list[GuestUser] = []
    filesystems: list[GuestFileSystem] = []
    load: tuple[float, float, float] | None = None
    """Averages of one, five and fifteen minutes."""


class Executed(Message, frozen=True, tag="executed"):
    """Answers `Execute`."""

    id: int
    code: int
    output: str = ""


class Pictured(Message, frozen=True, tag="pictured"):
    """Answers `Screenshot`."""

    id: int
    png: bytes


class Attested(Message, frozen=True, tag="attested"):
    """Answers `Attest`: what libvirt told, by its names."""

    id: int
    facts: dict[str, int | str | bool]


class Measured(Message, frozen=True, tag="measured"):
    """Answers `Measure`: numbers by libvirt's names, and the VMI's names of the devices in them:
    interfaces by their device on the node, disks (volumes) by the guest's target."""

    id: int
    counted: dict[str, int | str | bool]
    interfaces: dict[str, str] = {}
    drives: dict[str, str] = {}
    affinity: int = 0
    """The node's CPUs that a virtual CPU may run on, summed over these; 0: not told."""


class DomainChanged(Message, frozen=True, tag="domain"):
    """What the domain is now. `state`/`reason` are KubeVirt's names for libvirt's numbers.

    Reasons in use: Unknown, User, IOError, Dump, Migration, StartingUp, Shutdown, Destroyed,
    Crashed, Panicked, Failed, Saved, FromSnapshot, Migrated, PostcopyFailed. `target_devices`: disk
    (volume) name to guest target (vda). `seq` grows with each event of one launcher.
    """

    seq: int
    state: DomainState
    reason: str = "Unknown"
    message: str = ""
    machine: str = ""
    target_devices: dict[str, str] = {}
    empty_drives: list[str] = []
    """Disks (volumes) of `target_devices` that are CD-ROM drives with nothing in them."""
    interfaces: list[InterfaceSeen] = []
    host_devices: dict[str, str] = {}
    """The address of each device of the node (PCI, uuid, USB bus:device), by the VMI's name of it;
    further functions of what was given as one have a hyphen and a number behind it."""
    agent_connected: bool = False
    agent_lacks: tuple[str, ...] = ()
    """Commands that an agent is expected to know, and this one does not."""
    os: GuestOS | None = None
    frozen: bool = False
    """The guest's file systems are frozen."""
    credentials: Literal["", "Synchronized", "Failed"] = ""
    """What came of handing the agent keys and passwords; "": nothing yet."""
    credentials_message: str = ""
    started: bool = False
    """The guest has run at some time in this launcher."""
    devices: tuple[OwnDevice, ...] = ()
    """Those of the node that it has to itself."""


class Stopping(Message, frozen=True, tag="stopping"):
    """The pod was told to end (SIGTERM): the guest is being shut down."""

    grace: int


Event = DomainChanged | Stopping
Answer = Done | Failed | AgentTold | Executed | Pictured | Measured | Attested
Reply = Welcome | Answer | DomainChanged | Stopping
