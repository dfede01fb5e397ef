"""The node's QATNodeState: pure, from one look at its devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from virtpod.controllers import conditions
from virtpod.controllers.conditions import Condition
from virtpod.node.devices import health
from virtpod.node.devices.health import Fault
from virtpod.node.devices.look import Look
from virtpod.node.devices.offers import Piece
from virtpod.node.devices.qat import Engine

Json = dict[str, Any]

CONFIGURED, HEALTHY = "Configured", "Healthy"
SHOWN = 1024
"""Characters of a message."""


def status(look: Look, before: Mapping[str, Any], now: float) -> Json:
    """`before`: the status as it was last written, whose times of transition stay."""
    known = {each["address"]: each for each in before.get("devices") or ()}
    devices = [
        _device(look, engine, (known.get(address) or {}).get("conditions") or [], now)
        for address, engine in sorted(look.inventory.engines.items())
    ]
    good = sum(all(each["status"] == "True" for each in device["conditions"]) for device in devices)
    summary = f"{good} of {len(devices)} devices as they shall be"
    return {"summary": summary, "devices": devices}


def _device(look: Look, engine: Engine, before: list[Condition], now: float) -> Json:
    address = engine.address
    after = before
    for condition in _conditions(look, engine):
        after = conditions.put(after, condition, now)
    told = {each["type"] for each in _conditions(look, engine)}
    found = {
        "address": address,
        "model": engine.model.name,
        "generation": engine.model.generation,
        "driver": engine.function.driver,
        "numaNode": engine.function.numa,
        "state": engine.state,
        "services": list(engine.services),
        "totalVFs": engine.total,
        "ringPairs": engine.ring_pairs,
        "ringPairServices": list(engine.rings) or None,
        "spareRates": [
            {"service": name, "permille": left} for name, left in sorted(engine.spare.items())
        ]
        or None,
        "resource": engine.resource,
        "policy": look.policies.get(address),
        "functions": list(_functions(look, engine)),
        "conditions": [each for each in after if each["type"] in told],
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _conditions(look: Look, engine: Engine) -> Iterator[Condition]:
    round = look.rounds.get(engine.address)
    if round is not None:
        status = "True" if round.done else "False"
        yield conditions.new(CONFIGURED, status, round.reason, round.message[:SHOWN])
    fault = health.of_engine(engine) or look.inventory.faults.get(engine.address)
    if fault:
        yield conditions.new(HEALTHY, "False", fault.reason, fault.message[:SHOWN])
    else:
        yield conditions.new(HEALTHY, "True", "Healthy")


def _functions(look: Look, engine: Engine) -> Iterator[Json]:
    pieces = {address: piece for _, piece in look.pieces for address in piece.addresses}
    holders = look.holders
    for number, address in enumerate(engine.function.children):
        function = look.inventory.functions.get(address)
        if function is None:
            continue
        fault = _fault(pieces.get(address), address, look)
        holder = holders.get(address)
        found = {
            "address": address,
            "driver": function.driver,
            "iommuGroup": function.group,
            "rateLimits": [
                {
                    "service": each.service,
                    "committedPermille": each.committed,
                    "peakPermille": each.peak,
                }
                for each in engine.limits_of(number)
            ],
            "holder": "/".join(holder) if holder else "",
            "fault": fault.message[:SHOWN] if fault else "",
        }
        yield {name: value for name, value in found.items() if value}


def _fault(piece: Piece | None, address: str, look: Look) -> Fault | None:
    if piece is not None:
        return piece.fault
    known = look.inventory
    return health.of_held(address, known.functions, known.engines)
