"""Which images there are and what is in each: read this first."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from localcluster.build import find_go
from localcluster.progress import Failed, step

from . import code, debian, layers, layout, oci
from .debian_guest import build as debian_guest
from .guest import build as guest
from .layers import Layer, Store
from .tools import need, run

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PLAIN = {"PATH": PATH, "LANG": "C.UTF-8"}
QEMU = 107

LIBGUESTFS = layout.HERE / "libguestfs-tools"
DEMO_GUEST_WORK = layout.CACHE / "guest"
DEMO_GUEST_DISK = layout.CACHE / "demo-guest" / "disk" / "disk.qcow2"
DEBIAN_GUEST_WORK = layout.CACHE / "debian-guest-tools"
DEBIAN_GUEST_DISK = layout.CACHE / "debian-guest" / "disk" / "disk.qcow2"

# The linter keeps the processes apart, so an image can do without the others' packages: a change
# in virt-api makes no new launcher.
CODE = {
    each.image: each
    for each in (
        code.Code(
            "virtpod",
            layout.ROOT / "requirements.lock",
            scripts=("virt-api", "virt-controller", "virt-handler", "virt-operator"),
            without=frozenset({"launcher", "cli"}),
        ),
        code.Code(
            "virt-launcher",
            layout.ROOT / "requirements-launcher.lock",
            scripts=("virt-launcher", "virt-probe", "sidecar-shim"),
            without=frozenset(
                {
                    *("apiserver", "cli", "controller", "controllers", "kube", "node", "operator"),
                    "installation.py",
                }
            ),
            patient=frozenset({"virt-launcher"}),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Image:
    """`name` is the last word of its references; `layers` makes those that are not there yet."""

    name: str
    layers: Callable[[Store], tuple[Layer, ...]]
    settings: oci.Settings = field(default_factory=oci.Settings)

    def build(self, store: Store) -> oci.Built:
        return oci.image(self.name, self.layers(store), self.settings)


def _virtpod(store: Store) -> tuple[Layer, ...]:
    own = CODE["virtpod"]
    return (
        debian.layer("virtpod", store),
        code.dependencies(own, store),
        code.project(own, store),
    )


def _launcher(store: Store) -> tuple[Layer, ...]:
    own = CODE["virt-launcher"]
    return (
        debian.layer("virt-launcher", store),
        _container_disk(store),
        code.dependencies(own, store),
        code.project(own, store),
    )


def _container_disk(store: Store) -> Layer:
    """The static program that serves a containerDisk; init containers copy it from here."""
    return _static_program("container-disk", store)


def _static_program(what: str, store: Store) -> Layer:
    """In /usr/bin, of the Go source in the folder of its name."""
    source = layout.HERE / what
    key = layers.hash_of(source, Path(__file__))
    known = store.known(what, key)
    if known:
        return known
    with step(f"building {what}"):
        stage = layout.CACHE / what
        target = stage / "usr/bin" / what
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = ["-trimpath", "-buildvcs=false", "-ldflags=-s -w"]
        environment = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
        command = [find_go(), "build", *flags, "-o", str(target), "."]
        run(command, folder=source, environment=environment)
        return store.add(what, key, lambda stream: layers.write(stage, stream, owner=0))


def _demo_guest(store: Store) -> tuple[Layer, ...]:
    """A containerDisk: one disk in /disk/, as KubeVirt's are."""
    what, key = "demo-guest", guest.key()
    known = store.known(what, key)
    if known and DEMO_GUEST_DISK.exists():
        return (known,)
    with step("demo guest from Debian's kernel and busybox"):
        stage = DEMO_GUEST_DISK.parent.parent
        need("mmdebstrap")
        try:
            guest.build(DEMO_GUEST_DISK.parent, DEMO_GUEST_WORK)
        except guest.BuildFailed as error:
            raise Failed(str(error)) from error
        return (store.add(what, key, lambda stream: layers.write(stage, stream, owner=QEMU)),)


def _debian_guest(store: Store) -> tuple[Layer, ...]:
    what, key = "debian-guest", debian_guest.key()
    known = store.known(what, key)
    if known and DEBIAN_GUEST_DISK.exists():
        return (known,)
    with step("Debian guest: disk with cloud-init, sshd and guest agent"):
        folder = DEBIAN_GUEST_DISK.parent
        try:
            debian_guest.build(folder, DEBIAN_GUEST_WORK, DEMO_GUEST_WORK)
        except guest.BuildFailed as error:
            raise Failed(str(error)) from error
        return (
            store.add(what, key, lambda stream: layers.write(folder.parent, stream, owner=QEMU)),
        )


def _libguestfs_tools(store: Store) -> tuple[Layer, ...]:
    finish = LIBGUESTFS / "finish.sh"
    return debian.layer("libguestfs-tools", store, finish), _entry_point(store)


def _entry_point(store: Store) -> Layer:
    """By itself: a change of it makes no new appliance."""
    source = LIBGUESTFS / "root"
    what, key = "libguestfs-entry-point", layers.hash_of(source, Path(__file__))
    known = store.known(what, key)
    return known or store.add(what, key, lambda stream: layers.write(source, stream, owner=0))


VIRTPOD = Image("virtpod", _virtpod, oci.Settings(environment=PLAIN))
LAUNCHER = Image(
    "virt-launcher",
    _launcher,
    oci.Settings(
        command=("/usr/bin/virt-launcher",),
        # `kubectl exec POD -- virsh list` finds the launcher's own libvirt.
        environment=PLAIN
        | {"LIBVIRT_DEFAULT_URI": "qemu:///session?socket=/var/run/libvirt/libvirt-sock"},
        user=str(QEMU),
    ),
)
DEMO_GUEST = Image("virtpod-demo-guest", _demo_guest)

DEBIAN_GUEST = Image("virtpod-debian-guest", _debian_guest)
LIBGUESTFS_TOOLS = Image(
    "libguestfs-tools",
    _libguestfs_tools,
    oci.Settings(command=("/entrypoint.sh",), environment=PLAIN, user=str(QEMU)),
)
TRAFFIC = Image(
    "virtpod-traffic",
    lambda store: (_static_program("traffic", store),),
    oci.Settings(command=("/usr/bin/traffic",), user=str(QEMU)),
)
"""Both ends of a network measurement, for `make bench`."""

# By the short names that `refs` prints.
INSTALLED = {"virtpod": VIRTPOD, "virt-launcher": LAUNCHER, "demo-guest": DEMO_GUEST}
"""What a cluster is given without being asked."""
UNASKED = {**INSTALLED, "debian-guest": DEBIAN_GUEST}
"""What `build` makes without being asked."""
ALL = {**UNASKED, "libguestfs-tools": LIBGUESTFS_TOOLS, "traffic": TRAFFIC}
