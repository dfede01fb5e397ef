"""What is to be done on a node or in a launcher, as values.

Features return steps, `node/steps/` and `launcher/steps/` carry them out: deciding needs no
privilege and no file system, so it can be shown, compared and tested as text. Every step can be
repeated: it makes the state it names, whatever was there before of its own making.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from virtpod.domain.facts import PodLink

# --- in the pod's network namespace, by virt-handler


@dataclass(frozen=True)
class Bridge:
    """A bridge with addresses (CIDR notation), up."""

    name: str
    mac: str
    """Empty: the kernel's choice."""
    mtu: int
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tap:
    """A persistent tap device in `bridge`, up, that `owner` (a uid) may open."""

    name: str
    bridge: str
    mtu: int
    owner: int
    queues: int = 1


@dataclass(frozen=True)
class TakeOver:
    """The pod's own interface loses its address, and its MAC address, and is put in `bridge`: both
    are the guest's. A bridge without ports, `keeper`, remembers them, and the routes."""

    link: PodLink
    keeper: str
    bridge: str


@dataclass(frozen=True)
class Discard:
    """A link of our own making is no more."""

    name: str


@dataclass(frozen=True)
class Sysctl:
    """`key` with dots, relative to /proc/sys, in the pod's network namespace."""

    key: str
    value: str


@dataclass(frozen=True)
class Nft:
    """One nftables table, replaced as a whole in one transaction.

    `body` is nft's own notation of the table's content (chains and rules).
    """

    family: str
    table: str
    body: str


# --- on the node, by virt-handler


@dataclass(frozen=True)
class WriteAttribute:
    """`value` into an attribute of sysfs; `path` is relative to it."""

    path: str
    value: str


# --- in the launcher's container, by virt-handler


@dataclass(frozen=True)
class MakeOwn:
    """An empty file `name` in `folder` that belongs to `owner` (a uid); one that is there stays as
    it is. No link is followed."""

    folder: str
    name: str
    owner: int


# --- in the launcher's container, by virt-launcher


@dataclass(frozen=True)
class WriteFile:
    """A file with `content`, its folder included."""

    path: str
    content: bytes
    mode: int = 0o600


@dataclass(frozen=True)
class Blank:
    """A file of `size` bytes that are all nought, its folder included."""

    path: str
    size: int


@dataclass(frozen=True)
class MakeIso:
    """An ISO 9660 image (Joliet, Rock Ridge) that holds `files` (relative path to content)."""

    path: str
    label: str
    files: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class MakeOverlay:
    """A qcow2 image whose content is `backing`'s until the guest writes."""

    path: str
    backing: str
    backing_format: str


@dataclass(frozen=True)
class MakeQcow2:
    """An empty qcow2 image of `size` bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class MakeRaw:
    """A sparse file `name` in `folder`, as large as there is room for between `least` and `most`
    bytes; one that is there stays. The folder is a tenant's: no link out of it is followed."""

    folder: str
    name: str
    most: int
    least: int


@dataclass(frozen=True)
class GrowRaw:
    """The file `name` in `folder`, made as large as there is room for, up to `most` bytes; never
    smaller than it is."""

    folder: str
    name: str
    most: int


@dataclass(frozen=True)
class Run:
    """A process that lives as long as the launcher; `argv[0]` is found by PATH.

    It counts as ready when it is started; what needs more says so by `ready`, a path that the
    process makes, in a folder that is made for it. It is started again when it dies.
    """

    name: str
    argv: tuple[str, ...]
    ready: str = ""
    env: tuple[tuple[str, str], ...] = field(default=())


@dataclass(frozen=True)
class Announce:
    """Tells the guest of its one IPv6 address and its router, as long as the launcher lives: router
    advertisements (RFC 4861) by frames through `tap`, which is in `bridge`, and DHCPv6 (RFC 8415).

    `address`: CIDR notation. `router`: link-local, and `router_mac` with it.
    """

    bridge: str
    tap: str
    router: str
    router_mac: str
    address: str
    mtu: int
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()


HostStep = Bridge | Tap | TakeOver | Discard | Sysctl | Nft | MakeOwn
BootStep = (
    WriteFile | Blank | MakeIso | MakeOverlay | MakeQcow2 | MakeRaw | GrowRaw | Run | Announce
)
