"""Faults at random into VMs of mixed run strategies, then the invariants. `make chaos` is the long
one, with another seed each time; VIRTPOD_CHAOS_SEED, _MINUTES and _VMS say which, how long, and of
how many VMs."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from localcluster import layout
from tests.e2e import diary
from tests.e2e.invariants import NODES, Invariants, kill, pids
from tests.e2e.support import (
    SYSTEM,
    Namespace,
    Object,
    Refused,
    available,
    bare,
    component_pods,
    eventually,
    kubectl,
    on_node,
    phase,
)

MINUTES = float(os.environ.get("VIRTPOD_CHAOS_MINUTES", "0.75"))
VMS = int(os.environ.get("VIRTPOD_CHAOS_VMS", "5"))
SEED = int(os.environ.get("VIRTPOD_CHAOS_SEED", "1"))
WRITERS = max(VMS // 5, 2)
"""So many of them keep a diary; the others have no disk, and cost little."""
STRATEGIES = ("Always", "RerunOnFailure", "Always", "Once", "Manual")
PAUSE = (1.0, 5.0)
"""Seconds between two faults."""
CALM = 240
"""Seconds in which all must be well again: back-off of crashed starts is a part of it."""
WARNINGS = ("Stopped", "SyncFailed", "FailedCreate", "NodeUnresponsive")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(MINUTES * 60 + 900)]


class Chaos:
    def __init__(self, namespace: Namespace, seed: int) -> None:
        self.namespace = namespace
        self.random = random.Random(seed)
        self.did: list[str] = []
        self.said: dict[str, int] = {}
        self.writers = [f"writer{index}" for index in range(WRITERS)]
        self.others = {
            f"bare{index}": STRATEGIES[index % len(STRATEGIES)] for index in range(VMS - WRITERS)
        }

    def begin(self) -> None:
        place = self.namespace
        place.apply(*(diary.claim(name) for name in self.writers))
        place.apply(*(diary.writer(name, terminationGracePeriodSeconds=5) for name in self.writers))
        place.apply(*(bare(name, strategy) for name, strategy in self.others.items()))
        for name, strategy in self.others.items():
            if strategy == "Manual":
                place.virtctl("start", name)
        for name in self.writers:
            self.listen(place.running(name, seconds=300))
        for name in self.others:
            place.wait("vmi", name, lambda seen: phase(seen) == "Running", "Running", 120)

    def listen(self, vmi: Object) -> None:
        """What the guest says to be on its disk must be there ever after."""
        name = vmi["metadata"]["name"]
        number, _ = diary.said(vmi) if vmi["status"].get("interfaces") else (0, "")
        self.said[name] = max(number, self.said.get(name, 0))

    def go_on(self, seconds: float) -> None:
        faults: tuple[tuple[int, Callable[[], str]], ...] = (
            (4, lambda: self.kills("guest=", "QEMU")),
            (3, lambda: self.kills("/usr/bin/virt-launcher --", "a launcher")),
            (2, lambda: self.kills("libvirtd -f", "libvirtd")),
            (3, self.pod),
            (2, self.instance),
            (2, self.restart),
            (2, lambda: self.component("virt-handler")),
            (2, lambda: self.component("virt-controller")),
            (1, lambda: self.component("virt-api")),
            (1, lambda: self.service("kubelet --", "kubelet")),
            (1, lambda: self.service("bin/containerd --config", "containerd")),
            (1, self.api_server),
        )
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            (act,) = self.random.choices(
                [each for _, each in faults], weights=[weight for weight, _ in faults]
            )
            try:
                self.did.append(act())
            except (Refused, AssertionError) as nothing:
                # What was to be broken is not there just now.
                self.did.append(f"nothing: {str(nothing).splitlines()[0][:80]}")
            time.sleep(self.random.uniform(*PAUSE))

    def kills(self, what: str, name: str) -> str:
        node = self.random.choice(NODES)
        mark = f"{self.namespace.name}_" if what == "guest=" else ""
        found = pids(node, what + mark)
        if not found:
            return f"no {name} on {node}"
        on_node(node, f"kill -9 {self.random.choice(found)}")
        return f"killed {name} on {node}"

    def pod(self) -> str:
        name = self.random.choice(self.namespace.items("pod"))["metadata"]["name"]
        force = self.random.random() < 0.3
        words = ("--grace-period=0", "--force") if force else ()
        self.namespace.kubectl("delete", "pod", name, "--wait=false", *words)
        return f"deleted pod {name}{' by force' if force else ''}"

    def instance(self) -> str:
        name = self.random.choice(self.namespace.items("vmi"))["metadata"]["name"]
        self.namespace.kubectl("delete", "vmi", name, "--wait=false")
        return f"deleted VMI {name}"

    def restart(self) -> str:
        name = self.random.choice([*self.writers, *self.others])
        self.namespace.virtctl("restart", name)
        return f"restarted {name}"

    def component(self, name: str) -> str:
        pod = self.random.choice(list(component_pods(name)))["metadata"]["name"]
        kubectl("-n", SYSTEM, "delete", "pod", pod, "--wait=false", "--grace-period=0", "--force")
        return f"took {pod} away"

    def service(self, what: str, name: str) -> str:
        node = self.random.choice(NODES)
        kill(node, what)
        return f"killed {name} on {node}"

    def api_server(self) -> str:
        seconds = self.random.uniform(2, 8)
        kill(layout.CONTROL_PLANE, "kube-apiserver", "STOP")
        try:
            time.sleep(seconds)
        finally:
            kill(layout.CONTROL_PLANE, "kube-apiserver", "CONT")
        return f"the API server was away for {seconds:.0f} s"

    def calm(self) -> None:
        """What shall run runs, and what was written is there."""
        for name in self.writers:
            vmi = self.namespace.running(name, seconds=CALM)
            diary.goes_on(vmi, self.said[name], CALM)
            self.listen(vmi)
        for name, strategy in self.others.items():
            eventually(lambda name=name, how=strategy: self.well(name, how), name, CALM)

    def well(self, name: str, strategy: str) -> bool:
        status = self.namespace.get("vm", name)["status"].get("printableStatus")
        # A pod that was deleted ended its guest well, which only Always starts anew.
        return status == "Running" or (strategy != "Always" and status == "Stopped")


def test_all_is_well_after_chaos(namespace: Namespace) -> None:
    chaos = Chaos(namespace, SEED)
    print(f"\nVIRTPOD_CHAOS_SEED={SEED}: {VMS} VMs, {MINUTES:g} minutes")  # noqa: T201
    try:
        with Invariants(namespace, warnings=WARNINGS):
            chaos.begin()
            chaos.go_on(MINUTES * 60)
            available()
            chaos.calm()
            namespace.kubectl("delete", "vm", "--all", "--timeout=180s", seconds=200)
            for name in chaos.writers:
                diary.read(namespace, name).check(chaos.said[name])
    finally:
        print("\n".join(chaos.did))  # noqa: T201
        print(f"VIRTPOD_CHAOS_SEED={SEED}")  # noqa: T201
