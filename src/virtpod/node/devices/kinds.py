"""The node's labels that tell which kinds of PCI functions VFIO has here, whoever offers them, and
whether they can be moved: where a guest that has such a function could go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from virtpod.domain import moving
from virtpod.node.devices import qat, sysfs
from virtpod.node.devices.qat import Engine
from virtpod.node.devices.sysfs import Function


def seen(root: Path) -> dict[str, str]:
    """What sysfs shows now. Blocks."""
    functions = sysfs.functions(root)
    return labels(functions, qat.engines(root, functions))


def labels(functions: Mapping[str, Function], engines: Mapping[str, Engine]) -> dict[str, str]:
    """The kubelet gives one of a kind or the other: a kind moves where all of it do."""
    found: dict[str, bool] = {}
    for function in functions.values():
        if not function.vfio or not function.group:
            continue
        engine = engines.get(function.parent)
        if kind := moving.kind(function.id, engine.services if engine else ()):
            name = moving.LABEL + kind
            found[name] = found.get(name, True) and moving.saves(function.driver)
    return {name: moving.MOVES if moves else moving.STAYS for name, moves in found.items()}
