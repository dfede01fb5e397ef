"""Carrying out the steps that `render.boot` returns: one file per kind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from virtpod.domain.steps import (
    Announce,
    Blank,
    BootStep,
    GrowRaw,
    MakeIso,
    MakeOverlay,
    MakeQcow2,
    MakeRaw,
    Run,
    WriteFile,
)
from virtpod.launcher.images import ImageInvalid
from virtpod.launcher.inotify import appears
from virtpod.launcher.processes import Processes, ToolFailed, keep
from virtpod.launcher.steps import files, iso, qcow2, raw

READY_WITHIN = 10
"""Seconds for a helper to make what shows that it is ready."""


class Steps:
    """Does each step once; steps of one call go on at the same time."""

    def __init__(self, processes: Processes, helpers: asyncio.TaskGroup) -> None:
        self._processes = processes
        self._helpers = helpers
        self._running: dict[str, asyncio.Task[None]] = {}

    def keep(self, name: str, helper: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs beside the guest for as long as the launcher does, once."""
        if name not in self._running:
            self._running[name] = self._helpers.create_task(helper())

    async def perform(self, steps: Sequence[BootStep]) -> None:
        """Raises ToolFailed, ImageInvalid or OSError of the first step that failed."""
        try:
            async with asyncio.TaskGroup() as group:
                for step in steps:
                    group.create_task(self._perform(step))
        except* (ToolFailed, ImageInvalid, OSError) as errors:
            raise errors.exceptions[0] from None

    async def _perform(self, step: BootStep) -> None:
        match step:
            case WriteFile():
                files.write(step)
            case Blank():
                files.blank(step)
            case MakeIso():
                await iso.make(step, self._processes)
            case MakeOverlay():
                await qcow2.overlay(step, self._processes)
            case MakeQcow2():
                await qcow2.empty(step, self._processes)
            case MakeRaw():
                raw.make(step)
            case Announce():
                if step.bridge not in self._running:
                    from virtpod.launcher.steps import ipv6  # not every pod has it

                    router = ipv6.Router(step)
                    self._running[step.bridge] = self._helpers.create_task(router.serve())
            case GrowRaw():
                raw.grow(step)
            case Run():
                if step.name not in self._running:
                    helper = keep(self._processes, step.name, step.argv, dict(step.env))
                    if step.ready:
                        os.makedirs(os.path.dirname(step.ready), exist_ok=True)
                    self._running[step.name] = self._helpers.create_task(helper)
                if step.ready:
                    await _ready(step)


async def _ready(step: Run) -> None:
    try:
        async with asyncio.timeout(READY_WITHIN):
            await appears(step.ready)
    except TimeoutError:
        raise ToolFailed(f"{step.name} did not come up within {READY_WITHIN} s") from None
