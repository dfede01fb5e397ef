"""`python3 -m bench`: measure Virtpod on the cluster, print a table, write JSON.

A run leaves nothing behind. It does not fail because a figure is not met; it fails where something
could not be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench import api, audit, cli, disks, network, table
from bench.memory import Process
from bench.scenarios import (
    NAMESPACE,
    REST,
    SYSTEM,
    Batch,
    Bench,
    Deadlines,
    Failed,
    Resting,
    guestless,
    medians,
    namespace,
    percentile,
    settled,
)
from bench.sightings import TOLD, Sightings
from localcluster import layout
from scripts import demo
from scripts.target import references, target
from virtpod.kube import apply
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.errors import ApiError
from virtpod.kube.resources import KUBEVIRTS, Key, Obj

RUNS = 5
LIVES = 3
REPORT = layout.LOCAL / "bench.json"


@dataclass
class Report:
    """All that a run found; `measured` has the rows of the table by their id."""

    measured: dict[str, float] = field(default_factory=dict)
    timelines: dict[str, dict[str, float]] = field(default_factory=dict)
    requests: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    launcher: list[dict[str, Any]] = field(default_factory=list)
    components: dict[str, dict[str, float]] = field(default_factory=dict)
    rest: dict[str, dict[str, float]] = field(default_factory=dict)
    resting: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of each component at rest: MiB, and milliseconds of CPU in a minute."""
    cpu: dict[str, dict[str, float]] = field(default_factory=dict)
    disks: dict[str, disks.Rates] = field(default_factory=dict)
    """MB/s of the guest, and of the plain pod."""
    network: dict[str, network.Rates] = field(default_factory=dict)
    """Of a guest by each binding, and of the plain pod."""
    crds: dict[str, float] = field(default_factory=dict)  # KiB
    load: dict[str, float] = field(default_factory=dict)  # of the host, when each part began
    failures: list[str] = field(default_factory=list)


class Run:
    """The scenarios that were asked for, one after the other."""

    def __init__(
        self, bench: Bench, options: argparse.Namespace, guest: Obj, kubeconfig: str
    ) -> None:
        self.bench = bench
        self.kubeconfig = kubeconfig
        self.options = options
        self.guest = guest
        self.report = Report()
        self.lives: dict[str, dict[str, audit.Life]] = {}
        self.resting: Resting | None = None

    async def all(self) -> None:
        asked = self.options.only or list(SCENARIOS)
        if self.options.quick and not self.options.only:
            asked.remove("ten-guests")
        for name, scenario in SCENARIOS.items():
            if name not in asked:
                continue
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            self.report.load[name] = os.getloadavg()[0]
            try:
                await scenario(self)
            except* (Failed, ApiError, TimeoutError) as errors:
                found = "; ".join(str(error) for error in errors.exceptions)
                self.report.failures.append(f"{name}: {found}")

    async def api(self) -> None:
        measured = self.report.measured
        measured["admission.p99"] = await asyncio.to_thread(api.review, self.guest)
        for at_once in api.AT_ONCE:
            p50, p99 = await api.creations(self.bench.client, self.guest, at_once)
            measured |= {f"create{at_once}.p50": p50, f"create{at_once}.p99": p99}
        measured |= await api.streams(self.bench, self.kubeconfig)
        self.report.crds = api.crd_sizes()

    async def virtctl(self) -> None:
        self.report.measured |= await asyncio.to_thread(cli.starts)

    async def disks(self) -> None:
        image = await self._launcher_image()
        guest, plain = await disks.measured(self.bench, self.guest, image)
        self.report.disks = {"guest": guest, "plain": plain}

    async def network(self) -> None:
        how = "import" if self.bench.local else "push"
        images = await asyncio.to_thread(references, how, network.IMAGE)
        image = images[network.IMAGE]
        async for name, rates in network.measured(self.bench, self.guest, image):
            self.report.network[name] = rates

    async def rest(self) -> None:
        resting = self.resting = await self.bench.rest()
        if not self.bench.local:
            return
        for name, processes in resting.after.items():
            found = {"pss": sum(p.pss for p in processes), "rss": sum(p.rss for p in processes)}
            found["cpu"] = resting.cpu(name)
            self.report.resting[name] = found
            for size, value in found.items():
                self.report.measured[f"rest.{size}.{name}"] = value
        for size in ("rss", "pss", "cpu"):
            total = sum(each[size] for each in self.report.resting.values())
            self.report.measured[f"rest.{size}"] = total

    async def install(self) -> None:
        """On a cluster of the benchmark's own alone: virtual machines would go with it."""
        if self.bench.local:
            removal, install = await self.bench.install()
            self.report.measured |= {"removal": removal, "install": install}

    async def one(self, kind: str, spec: Obj) -> None:
        timings = [await self.bench.vmi(f"{kind}-one-{index}", spec) for index in range(RUNS)]
        self.lives[f"one {kind}"] = {
            f"{kind}-one-{index}": timing.life for index, timing in enumerate(timings)
        }
        found = medians(timings)
        self.report.timelines[kind] = found
        self.report.measured |= {
            f"{kind}.running": found["Running"],
            f"{kind}.after_compute": found["Running"] - found["compute"],
            f"{kind}.gone": found["gone"],
        }

    async def life(self) -> None:
        """Ends and restarts of a guest with a disk."""
        bench, guest = self.bench, self.guest
        found: dict[str, list[float]] = defaultdict(list)
        for index in range(LIVES):
            found["life.poweroff"].append(await bench.poweroff(f"off-{index}", guest))
            found["life.pod_deleted"].append(await bench.pod_deleted(f"pod-{index}", guest))
            running, login = await bench.restart(f"again-{index}", guest)
            found["life.restart"].append(running)
            found["life.restart_login"].append(login)
        self.report.measured |= {name: median(times) for name, times in found.items()}

    async def plain(self) -> None:
        image = await self._launcher_image()
        timings = [await self.bench.plain(f"plain-{index}", image) for index in range(RUNS)]
        found = medians(timings)
        self.report.timelines["plain"] = found
        self.report.measured["plain.running"] = found["Running"]

    async def _launcher_image(self) -> str:
        """That of a launcher of this run, or else of one made for it."""
        if not self.bench.seen.pods:
            await self.bench.vmi("image", guestless())
        pod = next(iter(self.bench.seen.pods.values()))
        image: str = pod["spec"]["containers"][0]["image"]
        return image

    async def many(self, kind: str, spec: Obj, count: int) -> None:
        batch = await self.bench.batch(f"{kind}-many", spec, count)
        self.lives[f"{count} {kind}"] = batch.lives
        self.report.timelines[f"{count} {kind}"] = medians(batch.timings)
        self.report.measured |= {
            f"{kind}{count}.p50": percentile(batch.running, 0.5),
            f"{kind}{count}.p95": percentile(batch.running, 0.95),
            f"{kind}{count}.gone": batch.gone,
        }
        if self.bench.local:
            self._insides(kind, batch, count)

    def _insides(self, kind: str, batch: Batch, count: int) -> None:
        self.report.launcher = _launcher(batch.launchers)
        self.report.components = _components(batch.components)
        for size in ("pss", "rss"):
            total = sum(sizes[size] for sizes in self.report.components.values())
            self.report.measured[f"components.{size}"] = total
        helpers = [[p for p in pod if not p.guest] for pod in batch.launchers]
        self.report.measured["launcher.pss"] = median(sum(p.pss for p in pod) for pod in helpers)
        self.report.measured["launcher.rss"] = median(sum(p.rss for p in pod) for pod in helpers)
        self.report.cpu[kind] = {name: cpu / count for name, cpu in batch.cpu.items()}
        for name, cpu in self.report.cpu[kind].items():
            self.report.measured[f"cpu.{name}"] = cpu

    def read_audit(self, log: Path, start: int) -> None:
        requests = audit.read(log, start)
        for what, lives in self.lives.items():
            count = audit.count(requests, NAMESPACE, lives)
            self.report.requests[what] = _requests(count)
            one = what == "one guest" or (what == "one guestless" and "one guest" not in self.lives)
            many = not what.startswith("one ")
            if one or many:
                suffix = ".many" if many else ""
                for part in audit.PARTS:
                    self.report.measured[f"writes.{part}{suffix}"] = count.writes(part)
        if self.resting is not None:
            begin, end = self.resting.begin, self.resting.end
            a_minute = 60 / (end - begin)
            for name, rest in audit.at_rest(requests, begin, end).items():
                self.report.rest[name] = {k: v * a_minute for k, v in asdict(rest).items()}
            for name, told in self.report.rest.items():
                self.report.measured[f"rest.{name}"] = told["requests"]
            self.report.measured["rest.most"] = max(
                r["requests"] for r in self.report.rest.values()
            )


def _components(found: dict[str, list[Process]]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "pss": sum(p.pss for p in processes),
            "rss": sum(p.rss for p in processes),
            "cpu": sum(p.cpu for p in processes),
            "processes": len(processes),
        }
        for name, processes in found.items()
        if processes
    }


def _launcher(pods: list[list[Process]]) -> list[dict[str, Any]]:
    """The processes of a launcher pod, with the median over all pods."""
    found: dict[str, list[Process]] = defaultdict(list)
    for pod in pods:
        for process in pod:
            found[process.name].append(process)
    return [
        {
            "process": name,
            "pss": median(p.pss for p in same),
            "rss": median(p.rss for p in same),
            "cpu": median(p.cpu for p in same),
        }
        for name, same in sorted(found.items())
    ]


def _requests(count: audit.Count) -> list[dict[str, Any]]:
    parts = {part: count.of(part) for part in audit.PARTS}
    return [
        {
            **dict(zip(("who", "verb", "resource"), key, strict=True)),
            **{part: counted[key] / count.vmis for part, counted in parts.items()},
        }
        for key in sorted(set().union(*parts.values()))
    ]


def text(report: Report) -> str:
    """The report for people."""
    known = table.figures()
    parts = [f"Theirs: {known.source}.", table.compared(table.rows(known, report.measured))]
    for kind, steps in report.timelines.items():
        theirs = known.timeline.get(kind, {})
        lines = [(f"{kind}: median", "KubeVirt", "ours")]
        lines += [(TOLD[s], table.number(theirs.get(s)), f"{at:.2f}") for s, at in steps.items()]
        parts.append(table.columns(lines))
    for what, requests in report.requests.items():
        lines4 = [(f"API requests per VMI, {what}", "", "", "to Running", "running", "to gone")]
        lines4 += [
            (r["who"], r["verb"], r["resource"], *(f"{r[part]:.1f}" for part in audit.PARTS))
            for r in requests
        ]
        parts.append(table.columns(lines4))
    for title, sizes in (
        ("a launcher pod (median): MiB, CPU seconds", {p["process"]: p for p in report.launcher}),
        ("components, all replicas: MiB, CPU seconds so far", report.components),
    ):
        if sizes:
            rows = [(title, "PSS", "RSS", "CPU")]
            rows += [
                (name, f"{size['pss']:.1f}", f"{size['rss']:.1f}", f"{size['cpu']:.2f}")
                for name, size in sizes.items()
            ]
            parts.append(table.columns(rows))
    if report.rest:
        rows4 = [(f"API requests a minute at rest, over {REST:g} s", "requests", "leases", "beats")]
        rows4 += [
            (name, f"{r['requests']:.0f}", f"{r['leases']:.0f}", f"{r['heartbeats']:.0f}")
            for name, r in report.rest.items()
        ]
        parts.append(table.columns(rows4))
    if report.resting:
        rows = [("components at rest, all replicas", "PSS MiB", "RSS MiB", "CPU ms a minute")]
        rows += [
            (name, f"{r['pss']:.1f}", f"{r['rss']:.1f}", f"{r['cpu']:.0f}")
            for name, r in report.resting.items()
        ]
        parts.append(table.columns(rows))
    for kind, cpu in report.cpu.items():
        rows2 = [(f"CPU seconds per VMI, a batch of {kind}", "")]
        rows2 += [(name, f"{seconds:.3f}") for name, seconds in cpu.items()]
        parts.append(table.columns(rows2))
    if report.disks:
        parts.append(table.columns(disks.table(report.disks["guest"], report.disks["plain"])))
    if report.network:
        parts.append(table.columns(network.table(report.network)))
    if report.disks or report.network:
        parts.append(
            "A guest under emulation has its devices emulated too: the ratios are for comparing."
        )
    if report.crds:
        kinds = [("CRDs: KiB of JSON", "")]
        kinds += [(kind, f"{size:.0f}") for kind, size in report.crds.items()]
        parts.append(table.columns(kinds))
    busy = ", ".join(f"{load:.1f} before {name}" for name, load in report.load.items())
    parts.append(f"Load of this host's {os.cpu_count()} processors: {busy}")
    parts += [f"FAILED {failure}" for failure in report.failures]
    return "\n\n".join(parts)


SCENARIOS: dict[str, Callable[[Run], Awaitable[None]]] = {
    "guestless": lambda run: run.one("guestless", guestless()),
    "guest": lambda run: run.one("guest", run.guest),
    "life": Run.life,
    "plain": Run.plain,
    "ten-guestless": lambda run: run.many("guestless", guestless(), run.options.count),
    "ten-guests": lambda run: run.many("guest", run.guest, run.options.count),
    "disks": Run.disks,
    "network": Run.network,
    "api": Run.api,
    "rest": Run.rest,
    "virtctl": Run.virtctl,
    "install": Run.install,
}
"""What `--only` names, in the order in which it is measured."""


async def run(options: argparse.Namespace) -> Report:
    chosen = target()
    log = layout.AUDIT_LOG if chosen.local else None
    start = log.stat().st_size if log is not None and log.exists() else 0
    guest: Obj = demo.manifest(chosen)["spec"]["template"]["spec"]
    async with Client(Config.from_kubeconfig(chosen.kubeconfig, ""), component="bench") as client:
        await _installed(client)
        async with namespace(client):
            seen = Sightings(client, NAMESPACE)
            watching = asyncio.create_task(seen.run())
            try:
                await seen.ready()
                measuring = Run(
                    Bench(client, seen, chosen.local), options, guest, chosen.kubeconfig
                )
                await measuring.all()
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
    if log is not None and log.exists():
        await asyncio.to_thread(measuring.read_audit, log, start)
    return measuring.report


async def _installed(client: Client) -> None:
    """Virtpod is there, and no roll-out is going on, which would be measured too."""
    if not (await client.list(KUBEVIRTS, namespace=SYSTEM)).items:
        raise Failed("Virtpod is not on this cluster: run `make install` first")
    try:
        await apply.wait_for(client, KUBEVIRTS, Key(SYSTEM, "kubevirt"), settled, Deadlines.one)
    except TimeoutError:
        raise Failed(
            "Virtpod does not become available; `kubectl -n kubevirt get kubevirt`"
        ) from None


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--json", type=Path, default=REPORT, help="where to write all figures")
    parser.add_argument("--quick", action="store_true", help="without the batch of guests")
    parser.add_argument("--count", type=int, default=10, help="VMIs in a batch")
    parser.add_argument(
        "--only", nargs="+", choices=SCENARIOS, metavar="NAME", help=", ".join(SCENARIOS)
    )
    options = parser.parse_args()
    try:
        report = asyncio.run(run(options))
    except (Failed, ApiError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    print(text(report))
    print(f"\nAll figures: {options.json}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
