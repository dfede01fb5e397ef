"""Mediated devices, made and removed as the KubeVirt object says.

Their uuids follow from their place, so that ours are known again: what somebody else has made is
left alone. A card of which no wanted type is made yet gets the one that fewest cards have, and as
many of it as it has room for. Nothing that a container was given, or that is open, is removed;
what is offered is withdrawn first, and removed at the look after the one that finds it withdrawn:
what the kubelet has given away meanwhile is seen by then.

https://docs.kernel.org/driver-api/vfio-mediated-device.html,
https://kubevirt.io/user-guide/compute/mediated_devices_configuration/
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid5

from virtpod.api.kubevirt import (
    KubeVirt,
    KubeVirtConfiguration,
    MediatedDevicesConfiguration,
)
from virtpod.features.gates import resolve
from virtpod.kube import errors
from virtpod.node.devices.holders import of_pods
from virtpod.node.devices.sysfs import Mediated, MediatedType, mediated, mediated_types
from virtpod.node.steps import mediated as steps

log = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two looks."""
LABELS_FOR = 60.0
"""Seconds for which the node's labels are believed."""
OFF = "DisableMDEVConfiguration"
"""The older way to say so."""
OURS = UUID("3f6ad0a4-5f0c-4c6e-9d52-6a2b6f3f0d51")
"""The namespace of our devices' uuids."""
MOST = 128
"""More instances than these of one type no card has."""


@dataclass(frozen=True)
class Make:
    """A device of a type (its id) on a card."""

    parent: str
    type: str
    uuid: str


@dataclass(frozen=True)
class Remove:
    uuid: str


def uuid_of(parent: str, kind: str, number: int) -> str:
    return str(uuid5(OURS, f"{parent}/{kind}/{number}"))


def wanted(
    config: MediatedDevicesConfiguration | None, labels: Mapping[str, str]
) -> list[str] | None:
    """The types for a node of these labels, in the configuration's order; None: nothing is said,
    and nothing is done. Types for some nodes stand in place of those for all."""
    if config is None or config.enabled is False:
        return None
    own = [
        kind
        for each in config.node_mediated_device_types or ()
        if each.node_selector.items() <= labels.items()
        for kind in each.mediated_device_types or each.mediated_devices_types or ()
    ]
    everywhere = config.mediated_device_types or config.mediated_devices_types or ()
    return list(dict.fromkeys(own or everywhere))


def plan(
    types: Sequence[MediatedType],
    devices: Sequence[Mediated],
    chosen: Sequence[str],
    used: Collection[str],
) -> list[Make | Remove]:
    """What is to be done now. Room that is made is used at a later look, when the kernel says that
    it is there."""
    names = {(each.parent, each.id): each for each in types}
    cards = sorted({each.parent for each in types})

    def rank(kind: MediatedType) -> int | None:
        """Its place among the wanted; None: it is not wanted."""
        return next((place for place, name in enumerate(chosen) if kind.called(name)), None)

    todo: list[Make | Remove] = []
    has: dict[str, set[str]] = {card: set() for card in cards}
    there = {device.uuid for device in devices}
    for device in devices:
        kind = next(
            (each for each in types if each.parent == device.parent and each.called(device.type)),
            None,
        )
        if kind is not None and rank(kind) is not None:
            has.setdefault(device.parent, set()).add(kind.id)
        elif device.uuid not in used and _ours(device, kind):
            todo.append(Remove(device.uuid))
    spread = Counter(kind for kinds in has.values() for kind in kinds)
    for card in cards:
        own = [names[card, kind] for kind in sorted(has[card])]
        if not own:
            able = [e for e in types if e.parent == card and e.available and rank(e) is not None]
            if not able:
                continue
            first = min(able, key=lambda each: (spread[each.id], rank(each) or 0))
            spread[first.id] += 1
            own = [first]
        for kind in own:
            numbers = (uuid_of(card, kind.id, number) for number in range(MOST))
            free = (uuid for uuid in numbers if uuid not in there)
            todo += [Make(card, kind.id, each) for each in itertools.islice(free, kind.available)]
    return todo


def _ours(device: Mediated, kind: MediatedType | None) -> bool:
    """Made by us: by this version's rule for its card and type."""
    return kind is not None and any(
        device.uuid == uuid_of(device.parent, kind.id, number) for number in range(MOST)
    )


@dataclass
class MediatedDevices:
    """`run()` it in a task. `labels` asks for the node's own; `offered` are the uuids of what the
    kubelet may give away."""

    sysfs: Path
    dev: Path
    pod_resources: Path
    labels: Callable[[], Awaitable[Mapping[str, str]]]
    offered: Callable[[], Collection[str]]
    leaving: frozenset[str] = frozenset()
    """The uuids of those that are about to be removed, and shall not be offered."""
    _withdrawn: frozenset[str] = frozenset()
    """Those of them that were not offered at the last look."""
    _config: MediatedDevicesConfiguration | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _known: Mapping[str, str] | None = None
    _known_at: float = 0.0
    _told: set[str] = field(default_factory=set)

    def configured(self, kubevirt: KubeVirt | None) -> None:
        """Its deletion changes nothing: the operator removes us then."""
        if kubevirt is None:
            return
        configuration = kubevirt.spec.configuration or KubeVirtConfiguration()
        off = OFF in resolve(configuration)
        given = configuration.mediated_devices_configuration or MediatedDevicesConfiguration()
        self._config = None if off else given
        self._known = None
        self._withdrawn = frozenset()  # the look that comes now comes too soon
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            again = await self.look()
            try:
                async with asyncio.timeout(EVERY if again else None):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()

    async def look(self) -> bool:
        """Once; whether there is more to be seen to. What cannot be done is said in the log, and
        tried again at the next look."""
        try:
            chosen = wanted(self._config, await self._labels() if self._config else {})
        except errors.ApiError as error:
            self._say("cannot read the node's labels", error=str(error))
            return True
        if chosen is None:
            self.leaving = self._withdrawn = frozenset()
            return False
        types, devices = await asyncio.to_thread(self._there)
        used: Collection[str] = ()
        wished = plan(types, devices, chosen, ())
        if any(isinstance(each, Remove) for each in wished):
            held = await of_pods(self.pod_resources)
            # Where nobody knows what is in use, nothing is removed.
            used = {d.uuid for d in devices} if held is None else {each.id for each in held}
        todo = plan(types, devices, chosen, used)
        self.leaving = frozenset(each.uuid for each in todo if isinstance(each, Remove))
        withdrawn = self.leaving.difference(self.offered())
        due, self._withdrawn = self._withdrawn & withdrawn, withdrawn
        for each in todo:
            if isinstance(each, Remove) and each.uuid not in due:
                continue
            try:
                await asyncio.to_thread(self._do, each, devices)
            except OSError as error:
                self._say("cannot change mediated devices", step=str(each), error=str(error))
            else:
                log.info("mediated device", extra={"step": str(each)})
                self._told.clear()
        return bool(chosen or wished)

    def _there(self) -> tuple[list[MediatedType], list[Mediated]]:
        return mediated_types(self.sysfs), mediated(self.sysfs)

    def _do(self, step: Make | Remove, devices: Sequence[Mediated]) -> None:
        if isinstance(step, Make):
            steps.make(self.sysfs, step.parent, step.type, step.uuid)
            return
        group = next((each.group for each in devices if each.uuid == step.uuid), "")
        steps.remove(self.sysfs, self.dev, step.uuid, group)

    async def _labels(self) -> Mapping[str, str]:
        """Asked for where the configuration tells nodes apart, and not at each look."""
        if not (self._config and self._config.node_mediated_device_types):
            return {}
        now = asyncio.get_running_loop().time()
        if self._known is None or now - self._known_at > LABELS_FOR:
            self._known, self._known_at = await self.labels(), now
        return self._known

    def _say(self, message: str, **fields: str) -> None:
        """Once, until something succeeds."""
        key = f"{message} {fields}"
        if key not in self._told:
            self._told.add(key)
            log.warning(message, extra=fields)
