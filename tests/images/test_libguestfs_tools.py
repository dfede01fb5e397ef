"""The image `libguestfs-tools`: its tools look into a disk, as a launcher's user and by emulation.

Minutes where the image is not built: `make test` leaves it out.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import catalogue, layers, layout
from images.layers import Store
from tests.images.test_contents import DEVICES

pytestmark = [pytest.mark.images, pytest.mark.long, pytest.mark.timeout(3600)]

LIMIT = 1200 << 20
MAKE = """
sparse /disk/disk.img 64M
run
part-disk /dev/sda mbr
mkfs ext4 /dev/sda1 label:data
mount /dev/sda1 /
mkdir /etc
write /etc/motd "hello from libguestfs\\n"
copy-in /etc/hostname-of-the-test /etc
"""
LOOK = """
virt-ls -a /disk/disk.img -m /dev/sda1 /etc
virt-cat -a /disk/disk.img -m /dev/sda1 /etc/motd
virt-df --csv -a /disk/disk.img
virt-filesystems -a /disk/disk.img --long --csv
"""
INSIDE = (
    'mount -t proc proc "$1/proc" && mount --bind "$2" "$1/disk" && '
    'exec chroot --userspec=107:107 "$1" /entrypoint.sh'
)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """The image as a folder, as containerd would lay it out, and an empty /disk."""
    store = Store()
    built = catalogue.LIBGUESTFS_TOOLS.build(store)
    assert built.size <= LIMIT
    folder = Path(tempfile.mkdtemp(prefix="libguestfs-", dir=layout.CACHE))
    folder.chmod(0o755)
    try:
        for layer in built.layers:
            layers.unpack(layer, store, folder)
        for device, minor in DEVICES.items():
            os.mknod(folder / "dev" / device, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            (folder / "dev" / device).chmod(0o666)
        # As containers have it: guestfish reads tar's output through it.
        (folder / "dev" / "fd").symlink_to("/proc/self/fd")
        (folder / "disk").mkdir()
        (folder / "etc" / "hostname-of-the-test").write_text("here\n")
        yield folder
    finally:
        shutil.rmtree(folder)


def shell(root: Path, disk: Path, script: str) -> str:
    """What the image's shell prints of a script on its standard input, as in a pod."""
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", INSIDE, "sh", str(root), str(disk)],
        input=f"set -e\n{script}",
        env={"PATH": catalogue.PATH, "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_disk_is_made_and_looked_into(root: Path, tmp_path: Path) -> None:
    os.chown(tmp_path, 107, 107)
    shell(root, tmp_path, f"guestfish <<'END'{MAKE}END")
    made = tmp_path / "disk.img"
    assert made.stat().st_size == 64 << 20
    assert made.read_bytes()[510:512] == b"\x55\xaa"
    said = shell(root, tmp_path, LOOK)
    listed, rest = said.split("hello from libguestfs\n")
    assert listed.split() == ["hostname-of-the-test", "motd"]
    assert "disk.img,/dev/sda1," in rest
    assert "/dev/sda1,filesystem,ext4,data," in rest


def test_it_says_where_its_appliance_is(root: Path, tmp_path: Path) -> None:
    said = shell(root, tmp_path, "env; guestfish --version; qemu-img --version")
    assert "LIBGUESTFS_BACKEND=direct\n" in said
    assert "LIBGUESTFS_BACKEND_SETTINGS=force_tcg\n" in said
    assert "qemu-img version" in said
