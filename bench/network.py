"""How fast a guest's network is by each binding, beside a plain pod on the same node.

One program (`images/traffic`) answers in the plain pod and in the guests, and asks from a pod on
the same node. Where guests are emulated, this measures the emulator as much as the binding: the
ratios tell bindings from one another, and one version from the next, on one machine; they say
nothing of what a guest with KVM gets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import msgspec

from bench.scenarios import NAMESPACE, Bench, Deadlines
from bench.shell import shell
from bench.sightings import Failed
from virtpod.kube import apply
from virtpod.kube.resources import PODS, VMIS, Key, Obj

IMAGE = "traffic"
PLAIN = "plain pod"
BINDINGS = {"masquerade": "masquerade", "bridge": "bridge", "passt": "passtBinding"}
PORT = 7000
TRIES = 30
"""Seconds for the guest to have its address."""
WITHIN = 120.0


class Rates(msgspec.Struct, frozen=True, rename={"into": "in"}):
    """MB/s to the server and from it, connections a second, seconds of a message there and back."""

    into: float
    out: float
    connects: float
    median: float
    p99: float


async def measured(bench: Bench, guest: Obj, image: str) -> AsyncIterator[tuple[str, Rates]]:
    """Of the plain pod, then of a guest by each binding."""
    server = await _pod(bench, "plain-network", image, ["serve", f":{PORT}"])
    node, address = server["spec"]["nodeName"], server["status"]["podIP"]
    yield PLAIN, await _ask(bench, "plain", image, node, address)
    for binding in BINDINGS:
        name = f"by-{binding}"
        await bench.client.create(VMIS, _machine(name, guest, binding, node))
        try:
            await bench.seen.until(name, "Running", Deadlines.boot)
            await _serve(bench, name, address)
            seen = await bench.client.get(VMIS, Key(NAMESPACE, name))
            own = seen["status"]["interfaces"][0]["ipAddress"]
            yield binding, await _ask(bench, binding, image, node, own)
        finally:
            key = Key(NAMESPACE, name)
            await bench.client.delete(VMIS, key)
            await apply.wait_for(
                bench.client, VMIS, key, lambda each: each is None, Deadlines.removal
            )
    await bench.client.delete(PODS, Key(NAMESPACE, "plain-network"))


def _machine(name: str, guest: Obj, binding: str, node: str) -> Obj:
    # Listed, as passt opens a socket for each port that it forwards: for all, more than it may.
    nic = {"name": "default", BINDINGS[binding]: {}, "ports": [{"port": PORT}]}
    spec: Obj = {
        **guest,
        "nodeSelector": {"kubernetes.io/hostname": node},
        "domain": {
            **guest["domain"],
            "devices": {**guest["domain"]["devices"], "interfaces": [nic]},
        },
        "networks": [{"name": "default", "pod": {}}],
        "terminationGracePeriodSeconds": 0,
    }
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


async def _serve(bench: Bench, name: str, source: str) -> None:
    """The guest gets the program from the plain pod, and runs it."""
    async with asyncio.timeout(Deadlines.boot), shell(bench, name) as root:
        fetch = f"wget -q -T 20 -O /tmp/traffic http://{source}:{PORT}/"
        said = await root.run(
            f"for i in $(seq {TRIES}); do {fetch} && break; sleep 1; done; chmod +x /tmp/traffic; "
            f"/tmp/traffic serve :{PORT} >/tmp/log 2>&1 & "
            "sleep 1; cat /tmp/log; kill -0 $! && echo up"
        )
        if "up" not in said.split():
            raise Failed(f"{name}: the server does not run in the guest: {said[-300:]}")


async def _ask(bench: Bench, name: str, image: str, node: str, address: str) -> Rates:
    """By a pod on the node."""
    name = f"ask-{name}"
    pod = await _pod(bench, name, image, ["measure", f"{address}:{PORT}"], node)
    said = await bench.client.request("GET", PODS.path(NAMESPACE, name, "log"))
    await bench.client.delete(PODS, Key(NAMESPACE, name))
    if pod["status"]["phase"] != "Succeeded":
        raise Failed(f"{name}: {said.body[-300:].decode(errors='replace')}")
    return best(msgspec.json.decode(line, type=Rates) for line in said.body.splitlines())


async def _pod(bench: Bench, name: str, image: str, words: list[str], node: str = "") -> Obj:
    """A server that runs, or a client that has ended."""
    phases = ("Succeeded", "Failed") if node else ("Running", "Failed")
    spec = {
        "containers": [{"name": "traffic", "image": image, "args": ["/usr/bin/traffic", *words]}],
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        **({"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}),
    }
    body: Obj = {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
    await bench.client.create(PODS, body)

    def so(pod: Obj | None) -> bool:
        return ((pod or {}).get("status") or {}).get("phase") in phases

    found = await apply.wait_for(bench.client, PODS, Key(NAMESPACE, name), so, WITHIN)
    if found is None:
        raise Failed(f"{name}: the pod is gone")
    return found


def best(rounds: Iterable[Rates]) -> Rates:
    """Of several: whatever else the machine does only makes one slower. Raises Failed for none."""
    found = list(rounds)
    if not found:
        raise Failed("nothing was measured")
    return Rates(
        into=max(each.into for each in found),
        out=max(each.out for each in found),
        connects=max(each.connects for each in found),
        median=min(each.median for each in found),
        p99=min(each.p99 for each in found),
    )


def table(found: dict[str, Rates]) -> list[tuple[str, ...]]:
    """Lines: each figure, and as a multiple of the plain pod's."""
    titles = ("into, MB/s", "out of, MB/s", "connects/s", "round trip, ms", "P99, ms")
    lines: list[tuple[str, ...]] = [
        ("TCP, and x plain pod", *(word for title in titles for word in (title, "x")))
    ]
    plain = _shown(found[PLAIN])
    for name, rates in found.items():
        cells: list[str] = []
        for value, beside in zip(_shown(rates), plain, strict=True):
            cells += (_digits(value), "" if name == PLAIN else _digits(value / beside))
        lines.append((name if name == PLAIN else f"guest, {name}", *cells))
    return lines


def _shown(rates: Rates) -> tuple[float, ...]:
    return rates.into, rates.out, rates.connects, rates.median * 1e3, rates.p99 * 1e3


def _digits(value: float) -> str:
    """About three of them."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 3}f}"
