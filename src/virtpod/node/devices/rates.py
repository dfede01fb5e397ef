"""Ring pairs and rate limits of QAT devices: what the kernel tells of them where it is asked by
writing, and the steps that bring limits to what a policy says.

A limit (SLA) is of up to four ring pairs of one service, in permille of what the device can do for
it. The attributes of qat_rl are the operands of an operation that is written to `sla_op`, one set
for all who use them: they are asked of devices only whose policy says something of limits. With
the device's state all limits go.

https://docs.kernel.org/admin-guide/abi-testing.html (sysfs-driver-qat, sysfs-driver-qat_rl)
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from virtpod.api.qat import QATRateLimit
from virtpod.domain.qat import LIMITED, RING_PAIRS
from virtpod.domain.qat_rates import peak
from virtpod.domain.steps import WriteAttribute
from virtpod.node.devices.qat import Engine, Limit
from virtpod.node.devices.sysfs import DEVICES, number, text

MOST = 84
"""Ids that limits can have; the first are the kernel's own."""
_MASK = re.compile(r"(?:0x)?([0-9a-f]{1,16})")

Write = Callable[[Path, Iterable[WriteAttribute]], None]


@dataclass(frozen=True)
class _Known:
    """What was found when all ids were tried."""

    ids: tuple[int, ...]
    whole: dict[str, int]
    """What functions are assured of and what is spare, together, by service."""


class Asker:
    """`write` writes attributes. Ids that are nobody's the kernel tells to its log: all are tried
    only where what is known does not add up, or may have changed (`forget`)."""

    def __init__(self, sysfs: Path, write: Write) -> None:
        self._sysfs = sysfs
        self._write = write
        self._known: dict[str, _Known] = {}

    def rings(self, engine: Engine) -> tuple[str, ...]:
        """What each ring pair of a virtual function does; empty where that is not told."""
        if not engine.up or engine.ring_pairs is None:
            return ()
        said = [self._answer(engine, "qat/rp2srv", str(ring)) for ring in range(RING_PAIRS)]
        found = tuple(each if each in LIMITED else "" for each in said)
        return found if any(found) else ()

    def spare(self, engine: Engine) -> dict[str, int]:
        """Of each service of `engine.rings`."""
        found = {}
        for service in sorted(set(filter(None, engine.rings))):
            left = number(self._answer(engine, "qat_rl/cap_rem", service))
            if left is not None:
                found[service] = left
        return found

    def limits(self, engine: Engine) -> tuple[Limit, ...] | None:
        """All of a device, whose `spare` was asked; None where it tells of none."""
        known = self._known.get(engine.address)
        found = self._tried(engine, known.ids) if known else None
        if known is None or found is None or _whole(engine, found) != known.whole:
            found = self._tried(engine, range(MOST))
        if found is None:
            self.forget(engine.address)
            return None
        ids = tuple(each.id for each in found)
        self._known[engine.address] = _Known(ids, _whole(engine, found))
        return tuple(found)

    def forget(self, address: str) -> None:
        """That device's limits have been written to."""
        self._known.pop(address, None)

    def _answer(self, engine: Engine, name: str, question: str) -> str:
        path = f"{DEVICES}/{engine.address}/{name}"
        try:
            self._write(self._sysfs, [WriteAttribute(path, question)])
        except OSError:
            return ""
        return text(self._sysfs / path)

    def _tried(self, engine: Engine, ids: Iterable[int]) -> list[Limit] | None:
        folder = _folder(engine)
        found = []
        for id in ids:
            steps = [_operand(engine, "id", id), _operand(engine, "sla_op", "get")]
            try:
                self._write(self._sysfs, steps)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    continue  # nobody's, or the kernel's own
                return None
            committed, most = (number(text(self._sysfs / folder / n)) for n in ("cir", "pir"))
            rings = _MASK.fullmatch(text(self._sysfs / folder / "rp"))
            service = text(self._sysfs / folder / "srv")
            if committed is not None and most is not None and rings and service in LIMITED:
                found.append(Limit(id, service, int(rings[1], 16), committed, most))
        return found


def steps(engine: Engine, wanted: Sequence[QATRateLimit]) -> list[WriteAttribute]:
    """From the limits that a device has to these of each of its virtual functions. What goes and
    what becomes less comes first, so that there is room for the rest."""
    if engine.limits is None:
        return []
    targets = {
        (limit.service, _rings(engine, number, limit.service)): limit
        for number in range(len(engine.function.children))
        for limit in wanted
    }
    found = []
    changed = []
    for have in engine.limits:
        target = targets.pop((have.service, have.rings), None)
        if target is None:
            found += [_operand(engine, "id", have.id), _operand(engine, "sla_op", "rm")]
        elif (have.committed, have.peak) != (target.committed_permille, peak(target)):
            changed.append((target.committed_permille - have.committed, have.id, target))
    for _, id, target in sorted(changed, key=lambda each: each[:2]):
        found += [
            _operand(engine, "id", id),
            *_rates(engine, target),
            _operand(engine, "sla_op", "update"),
        ]
    for (service, rings), target in targets.items():
        found += [
            *_rates(engine, target),
            _operand(engine, "srv", service),
            _operand(engine, "rp", f"{rings:#x}"),
            _operand(engine, "sla_op", "add"),
        ]
    return found


def _rings(engine: Engine, function: int, service: str) -> int:
    first = RING_PAIRS * function
    return sum(1 << first + ring for ring, does in enumerate(engine.rings) if does == service)


def _rates(engine: Engine, limit: QATRateLimit) -> list[WriteAttribute]:
    return [
        _operand(engine, "cir", limit.committed_permille),
        _operand(engine, "pir", peak(limit)),
    ]


def _operand(engine: Engine, name: str, value: str | int) -> WriteAttribute:
    return WriteAttribute(f"{_folder(engine)}/{name}", str(value))


def _folder(engine: Engine) -> str:
    return f"{DEVICES}/{engine.address}/qat_rl"


def _whole(engine: Engine, limits: Iterable[Limit]) -> dict[str, int]:
    found = dict(engine.spare)
    for each in limits:
        found[each.service] = found.get(each.service, 0) + each.committed
    return found
