"""The program that says which devices a container may use, in the kernel that runs it."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtpod.node.steps import device_program
from virtpod.node.steps.device_program import MULTI, Rules, attach, change, load, read

NUMBERS = st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1))
DENY = device_program._one(0xB7, 0, 0, 0, 0) + device_program._one(0x95)
NULL = (
    # What runc makes of "c 1:3 rwm", and of nothing else.
    device_program._one(0x61, 2, 1, 0)
    + device_program._one(0x54, 2, 0, 0, 0xFFFF)
    + device_program._one(0x61, 3, 1, 0)
    + device_program._one(0x74, 3, 0, 0, 16)
    + device_program._one(0x61, 4, 1, 4)
    + device_program._one(0x61, 5, 1, 8)
    + device_program._one(0x55, 2, 0, 4, 2)
    + device_program._one(0x55, 4, 0, 3, 1)
    + device_program._one(0x55, 5, 0, 2, 3)
    + device_program._one(0xB7, 0, 0, 0, 1)
    + device_program._one(0x95)
    + DENY
)


SOME = st.lists(NUMBERS, unique=True, max_size=9)


@given(block=SOME, character=SOME)
def test_what_passes_is_read_from_the_program_itself(
    block: list[tuple[int, int]], character: list[tuple[int, int]]
) -> None:
    rules = Rules(tuple(block), tuple(character), NULL)
    assert read(rules.instructions()) == rules


def test_what_cannot_be_built_upon_is_refused() -> None:
    with pytest.raises(OSError, match="calls or maps"):
        read(device_program._one(0x85, 0, 0, 0, 5) + DENY)
    spoilt = bytearray(Rules(((7, 1),), (), DENY).instructions())
    spoilt[8] ^= 1
    with pytest.raises(OSError, match="not as it was made"):
        read(bytes(spoilt))


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    """A cgroup of version 2, which a host with version 1 may have beside it."""
    if os.geteuid() != 0:
        pytest.skip("cgroups are made by root")
    place = tmp_path / "cgroup2"
    place.mkdir()
    mount = ["mount", "-t", "cgroup2", "cgroup2", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no cgroup v2 can be mounted here")
    made = place / f"virtpod-test-{os.getpid()}"
    made.mkdir()
    try:
        yield made
    finally:
        with contextlib.suppress(OSError):
            made.rmdir()
        subprocess.run(["umount", str(place)], check=True)


def may(group: Path, device: Path) -> bool:
    """Whether a process in the cgroup can open the device."""
    script = f"echo $$ > {group}/cgroup.procs && exec head -c 1 {device}"
    return subprocess.run(["sh", "-c", script], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("programs", [1, 2])
def test_a_device_is_let_pass_and_denied_again(group: Path, tmp_path: Path, programs: int) -> None:
    file = tmp_path / "disk"
    file.write_bytes(bytes(4096))
    loop = subprocess.run(
        ["losetup", "--find", "--show", str(file)], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        number = os.stat(loop).st_rdev
        assert stat.S_ISBLK(os.stat(loop).st_mode)
        device = os.major(number), os.minor(number)
        handle = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(programs):  # systemd's beside runc's
            made = load(NULL)
            attach(handle, made, MULTI)
            os.close(made)
        null, zero, disk = Path("/dev/null"), Path("/dev/zero"), Path(loop)
        null_opens = ["sh", "-c", f"echo $$ > {group}/cgroup.procs && : < {null}"]
        for allowed in (False, True, True, False):
            if allowed:
                change(handle, "b", device, allowed=True)
                change(handle, "b", (7, 4095), allowed=True)
            else:
                change(handle, "b", device, allowed=False)
            assert may(group, disk) is allowed
            assert not may(group, zero)
            change(handle, "c", (1, 5), allowed=allowed)
            assert may(group, zero) is allowed
            assert may(group, disk) is allowed
            change(handle, "c", (1, 5), allowed=False)
            assert subprocess.run(null_opens, check=False).returncode == 0
        # The other device that was let pass is still known; without it all is as it was.
        for program in device_program._attached(handle)[1]:
            with device_program._program(program) as found:
                assert read(device_program._instructions(found)) == Rules(((7, 4095),), (), NULL)
        change(handle, "b", (7, 4095), allowed=False)
        numbers = device_program._attached(handle)[1]
        assert len(numbers) == programs
        for program in numbers:
            with device_program._program(program) as found:
                assert device_program._instructions(found) == NULL
        os.close(handle)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)
