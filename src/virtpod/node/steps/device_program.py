"""A container's devices with cgroup v2: a program that the kernel asks at each open.

Whoever made the container (runc, crun, systemd) has attached a program that holds its rules. Such
a program cannot be changed, so another takes its place: it lets the plugged devices pass, and goes
on with the instructions of the one that was there. Nothing is kept here: which devices were let
pass, and what was there before, is read from the program itself.

All of several programs must agree, so each of them is replaced.

Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html#device-controller, bpf(2),
https://docs.kernel.org/bpf/standardization/instruction-set.html
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Literal

SYSCALLS = {"x86_64": 321, "aarch64": 280, "s390x": 351}
LOAD, ATTACH, BY_ID, INFO, QUERY = 5, 8, 13, 15, 16
KIND = 15
"""BPF_PROG_TYPE_CGROUP_DEVICE"""
HOOK = 6
"""BPF_CGROUP_DEVICE"""
MULTI, REPLACE = 2, 4
Kind = Literal["b", "c"]
"""Of a device: block or character."""
TYPES: dict[Kind, int] = {"b": 1, "c": 2}
NAME = b"virtpod_devices"
MARKS: dict[Kind, int] = {"b": 0x76706462, "c": 0x76706463}
"""What the instructions of ours about a kind begin with."""
MOST = 64
"""Programs of one cgroup: the kernel takes no more."""
LONGEST = 1 << 20
"""Bytes of a program's instructions."""
ATTRIBUTES = 144
CALL, LOAD_WIDE = 0x85, 0x18

_libc = ctypes.CDLL(None, use_errno=True)

Device = tuple[int, int]
"""Major and minor number."""


@dataclass(frozen=True)
class Rules:
    """A program: the devices that pass at once, and what is asked about all else."""

    block: tuple[Device, ...]
    character: tuple[Device, ...]
    rest: bytes

    def instructions(self) -> bytes:
        return _prefix("b", self.block) + _prefix("c", self.character) + self.rest

    def change(self, kind: Kind, device: Device, *, allowed: bool) -> Rules:
        before = self.block if kind == "b" else self.character
        others = tuple(each for each in before if each != device)
        after = (*others, device) if allowed else others
        return replace(self, block=after) if kind == "b" else replace(self, character=after)


def change(group: int, kind: Kind, device: Device, *, allowed: bool) -> None:
    """`group`: a handle of the cgroup's folder. One without a program restricts nothing. Raises
    OSError."""
    flags, numbers = _attached(group)
    for number in numbers:
        with _program(number) as old:
            before = read(_instructions(old))
            after = before.change(kind, device, allowed=allowed)
            if after != before:
                _replace(group, old, after, flags)


def read(program: bytes) -> Rules:
    """The rules of a program, ours or not. Raises OSError where it cannot be built upon."""
    block, program = _passing("b", program)
    character, program = _passing("c", program)
    for at_byte in range(0, len(program), 8):
        code, registers = program[at_byte], program[at_byte + 1]
        if code == CALL or (code == LOAD_WIDE and registers >> 4):
            raise OSError(
                "the container's device program has calls or maps, and cannot be built upon"
            )
    return Rules(block, character, program)


def _passing(kind: Kind, program: bytes) -> tuple[tuple[Device, ...], bytes]:
    """The devices of the kind that a program lets pass, and what follows in it."""
    if program[:8] != _one(0xB7, 0, 0, 0, MARKS[kind]):
        return (), program
    count = (struct.unpack_from("<BBhi", program, 3 * 8)[2] - 2) // 4
    at = [8 * (6 + 4 * index) for index in range(count)]
    passing = tuple(
        (struct.unpack_from("<i", program, i + 4)[0], struct.unpack_from("<i", program, i + 12)[0])
        for i in at
    )
    prefix = _prefix(kind, passing)
    if program[: len(prefix)] != prefix:
        raise OSError("the container's device program is not as it was made")
    return passing, program[len(prefix) :]


def _prefix(kind: Kind, devices: Collection[Device]) -> bytes:
    """Instructions that end with 1 for these devices, and else change nothing that matters; none
    for no device. r1: the question, of three words: type and access, major number, minor number."""
    if not devices:
        return b""
    checks = b"".join(
        _one(0x55, 3, 0, 3, major)  # if r3 != major: the next device
        + _one(0x55, 4, 0, 2, minor)
        + _one(0xB7, 0, 0, 0, 1)  # r0 = 1
        + _one(0x95)  # exit
        for major, minor in devices
    )
    return (
        _one(0xB7, 0, 0, 0, MARKS[kind])
        + _one(0x61, 2, 1, 0)  # r2 = type and access
        + _one(0x54, 2, 0, 0, 0xFFFF)
        + _one(0x55, 2, 0, 2 + len(checks) // 8, TYPES[kind])  # of another kind: on with the rest
        + _one(0x61, 3, 1, 4)
        + _one(0x61, 4, 1, 8)
        + checks
    )


def _one(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | to, offset, value)


# The kernel's side.


def load(instructions: bytes) -> int:
    """A handle of the program. Raises OSError with what the kernel's verifier says."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    said = ctypes.create_string_buffer(16 * 1024)
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "<IIQQIIQII16s",
        *(KIND, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence)),
        *(1, len(said), ctypes.addressof(said), 0, 0, NAME),
    )
    try:
        return _bpf(LOAD, attributes)[0]
    except OSError as error:
        words = said.value.decode(errors="replace").strip()
        raise OSError(error.errno, f"the kernel takes no device program: {words[-500:]}") from None


def attach(group: int, program: int, flags: int, replaced: int = 0) -> None:
    """Raises OSError."""
    _bpf(ATTACH, struct.pack("<IIIII", group, program, HOOK, flags, replaced))


def _replace(group: int, old: int, rules: Rules, flags: int) -> None:
    new = load(rules.instructions())
    try:
        if flags & MULTI:
            attach(group, new, MULTI | REPLACE, old)
        else:
            attach(group, new, flags)  # there is one at most, and the next takes its place
    finally:
        os.close(new)


def _attached(group: int) -> tuple[int, list[int]]:
    """How programs are attached to the cgroup, and their numbers."""
    numbers = (ctypes.c_uint32 * MOST)()
    asked = struct.pack("<IIIIQI", group, HOOK, 0, 0, ctypes.addressof(numbers), MOST)
    _, answer = _bpf(QUERY, asked)
    flags, _, count = struct.unpack_from("<IQI", answer, 12)
    return flags, list(numbers[:count])


@contextmanager
def _program(number: int) -> Iterator[int]:
    handle, _ = _bpf(BY_ID, struct.pack("<I", number))
    try:
        yield handle
    finally:
        with suppress(OSError):
            os.close(handle)


def _instructions(program: int) -> bytes:
    """As the kernel has them after its checks, which for these programs is as they were loaded."""
    info = ctypes.create_string_buffer(80)

    def ask() -> tuple[int, int]:
        """Bytes of its instructions, and the number of its maps."""
        _bpf(INFO, struct.pack("<IIQ", program, len(info), ctypes.addressof(info)))
        return struct.unpack_from("<I", info, 20)[0], struct.unpack_from("<I", info, 52)[0]

    size, maps = ask()
    if maps or not 0 < size <= LONGEST:
        raise OSError("the container's device program cannot be read, or keeps maps")
    code = ctypes.create_string_buffer(size)
    ctypes.memset(info, 0, len(info))
    struct.pack_into("<I", info, 20, size)
    struct.pack_into("<Q", info, 32, ctypes.addressof(code))
    ask()
    if not struct.unpack_from("<Q", info, 32)[0]:
        raise OSError("this kernel does not show the instructions of the container's program")
    return code.raw


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """The result, and the attributes as the kernel has left them."""
    number = SYSCALLS.get(platform.machine())
    if number is None:
        raise OSError(f"block volumes cannot be plugged in with cgroup v2 on {platform.machine()}")
    given = ctypes.create_string_buffer(attributes, ATTRIBUTES)
    result: int = _libc.syscall(number, command, given, ATTRIBUTES)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result, given.raw
