"""QAT devices brought to what their policies say, round by round (`setup.decide`).

Functions that a round touches are taken out of the offers first, and touched at the next look: what
the kubelet has given away meanwhile is seen by then, and it gives away no more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from virtpod.api.qat import QATNodePolicy
from virtpod.node.devices import holders, qat, setup, sysfs
from virtpod.node.devices.qat import Engine
from virtpod.node.devices.rates import Asker, Write
from virtpod.node.devices.setup import Policy, Round, Surroundings
from virtpod.node.devices.sysfs import Function
from virtpod.node.steps import attributes

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds before what the kernel has refused is tried again."""
ROUNDS = 5
"""Of one look: services and functions, their drivers, resets, rate limits, and that all is well."""


@dataclass(frozen=True)
class Outcome:
    functions: Mapping[str, Function]
    engines: Mapping[str, Engine]
    policies: Mapping[str, str] = field(default_factory=dict)
    """The name of each device's policy."""
    allocation: Mapping[str, str] = field(default_factory=dict)
    rounds: Mapping[str, Round] = field(default_factory=dict)
    touched: frozenset[str] = frozenset()
    """What is touched at the next look."""


class Outfitter:
    """`proc`: the node's processes; `write` writes attributes."""

    def __init__(self, root: Path, proc: Path, write: Write = attributes.write) -> None:
        self._sysfs = root
        self._proc = proc
        self._write = write
        self._asker = Asker(root, lambda sysfs, steps: self._write(sysfs, steps))
        self._refused: dict[str, tuple[float, Round]] = {}
        self._had: dict[str, int] = {}
        """How many functions were taken away to be made anew, by the device's address."""

    def advance(
        self,
        objects: Iterable[QATNodePolicy],
        labels: Mapping[str, str],
        held: Mapping[str, str] | None,
        offered: frozenset[str],
        now: float,
    ) -> Outcome:
        """As far as one look gets. `held`: who has each address, None where that is not known;
        `offered`: what the kubelet may give away. Blocks."""
        given = setup.policies(objects, labels)
        outcome = self._seen(given)
        for _ in range(ROUNDS):
            around = Surroundings(
                outcome.functions, held, sysfs.drivers(self._sysfs), sysfs.deny_list(self._sysfs)
            )
            rounds = {
                address: self._round(engine, given[outcome.policies[address]], around, now)
                for address, engine in outcome.engines.items()
                if address in outcome.policies
            }
            wait = {each for each in rounds.values() if each.steps and offered & set(each.touched)}
            ready = {
                address: each for address, each in rounds.items() if each.steps and each not in wait
            }
            touched = frozenset(each for one in wait for each in one.touched)
            if not ready:
                break
            rounds |= {a: self._carried_out(a, each, outcome, now) for a, each in ready.items()}
            outcome = self._seen(given)
        return Outcome(
            outcome.functions,
            outcome.engines,
            outcome.policies,
            outcome.allocation,
            self._conflicts(outcome.engines, given) | rounds,
            touched,
        )

    def _seen(self, given: Mapping[str, Policy]) -> Outcome:
        functions = sysfs.functions(self._sysfs)
        engines = qat.engines(self._sysfs, functions)
        engines = {address: self._asked(engine, given) for address, engine in engines.items()}
        chosen = {address: setup.chosen(engine, given) for address, engine in engines.items()}
        policies = {address: names[0] for address, names in chosen.items() if len(names) == 1}
        allocation = {
            address: given[name].allocation_policy or "" for address, name in policies.items()
        }
        return Outcome(functions, engines, policies, allocation)

    def _asked(self, engine: Engine, given: Mapping[str, Policy]) -> Engine:
        """With its ring pairs, and its rate limits where its policy says something of them."""
        engine = replace(engine, rings=self._asker.rings(engine))
        names = setup.chosen(engine, given)
        if len(names) != 1 or given[names[0]].rate_limits is None or not engine.limitable:
            return engine
        engine = replace(engine, spare=self._asker.spare(engine))
        return replace(engine, limits=self._asker.limits(engine))

    def _conflicts(
        self, engines: Mapping[str, Engine], given: Mapping[str, Policy]
    ) -> dict[str, Round]:
        found = {}
        for address, engine in engines.items():
            names = setup.chosen(engine, given)
            if len(names) > 1:
                message = (
                    f"QATNodePolicies {', '.join(names)} are all for it, and none is followed: "
                    "narrow their selectors"
                )
                found[address] = Round("Conflict", message)
        return found

    def _round(self, engine: Engine, wanted: Policy, around: Surroundings, now: float) -> Round:
        found = setup.decide(engine, self._with_functions(engine, wanted), around)
        if not found.steps and not found.done and (user := self._user(engine)):
            # It may lack what it has with its own driver.
            return _in_use([f"{engine.address} ({user})"])
        at, refused = self._refused.get(engine.address, (0.0, None))
        if refused is None:
            return found
        if not found.steps:
            self._refused.pop(engine.address)
            return found
        if now - at < PATIENCE:
            return refused
        return found

    def _with_functions(self, engine: Engine, wanted: Policy) -> Policy:
        """Where a round was broken off after it had taken away functions of whose number the policy
        says nothing: with as many as there were."""
        had = self._had.get(engine.address)
        if wanted.num_vfs is not None or engine.function.children or not had:
            self._had.pop(engine.address, None)
            return wanted
        return msgspec.structs.replace(wanted, num_vfs=had)

    def _user(self, engine: Engine) -> str:
        """The process that has the physical function itself open; empty: none."""
        function = engine.function
        if not function.vfio or not function.group:
            return ""
        return holders.of_processes(self._proc, self._sysfs).get(function.group, "")

    def _carried_out(self, address: str, round: Round, outcome: Outcome, now: float) -> Round:
        """The round, or why it could not be."""
        groups = {
            outcome.functions[each].group: each
            for each in round.touched
            if each in outcome.functions
        }
        using = holders.of_processes(self._proc, self._sysfs) if round.touched else {}
        if busy := sorted(f"{groups[one]} ({using[one]})" for one in groups.keys() & using.keys()):
            return self._refuse(address, _in_use(busy), now)
        self._asker.forget(address)
        if have := len(outcome.engines[address].function.children):
            self._had[address] = have
        try:
            self._write(self._sysfs, round.steps)
        except OSError as error:
            message = f"/sys/{error.filename}: {error.strerror}; look at the node's kernel log"
            return self._refuse(address, Round("Failed", message), now)
        log.info(
            "QAT device set up",
            extra={"device": address, "steps": [f"{s.path}={s.value}" for s in round.steps]},
        )
        return round

    def _refuse(self, address: str, round: Round, now: float) -> Round:
        log.warning("QAT device not set up", extra={"device": address, "why": round.message})
        self._refused[address] = now, round
        return round


def _in_use(holding: Iterable[str]) -> Round:
    return Round("InUse", f"It is set up otherwise once these are free: {', '.join(holding)}")
