"""What must hold whatever happens: watched while faults are made, and looked at afterwards.

No two QEMU of one VM at any moment; no phase that goes back; no Warning that was not expected; and
when all VMs are gone, the nodes are as they were before.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType

from localcluster import layout
from tests.e2e.support import ENVIRONMENT, Namespace, Object, eventually, on_node
from virtpod.controllers.lifecycle import FINAL, PHASES

NODES = ("node1", "node2")
LOOK_EVERY = 0.2
LEFT = """
for p in /proc/[0-9]*; do
    grep -q kubepods.*/ $p/cgroup 2>/dev/null && case $(cat $p/comm 2>/dev/null) in
        qemu-system*|libvirtd|dnsmasq|virt-launcher) echo process $(cat $p/comm) ;;
    esac
done
for pod in /var/lib/kubelet/pods/*/; do
    [ -e "$pod/volumes/kubernetes.io~empty-dir/sockets" ] && echo folder "$pod"
done
grep -c 'kubernetes.io~empty-dir\\|image-volumes' /proc/mounts | sed 's/^/mounts /'
ls /run/netns 2>/dev/null | wc -l | sed 's/^/networks /'
ls /sys/fs/cgroup/*/kubepods* -d 2>/dev/null | head -1 | while read -r top; do
    find "$top" -maxdepth 2 -name 'pod*' | wc -l | sed 's/^/cgroups /'
done
true
"""
ORDER = [phase.name for phase in PHASES]


def left(node: str) -> Counter[str]:
    """What launchers have on a node: processes, folders, mounts, networks, cgroups."""
    return counted(on_node(node, LEFT))


def counted(told: str) -> Counter[str]:
    """`mounts 5` counts as five of them: fewer than before is no leak."""
    found: Counter[str] = Counter()
    for line in filter(None, told.split("\n")):
        what, _, number = line.partition(" ")
        if number.isdigit():
            found[what] += int(number)
        else:
            found[line] += 1
    return found


class Invariants:
    """`with Invariants(namespace): ...` around everything that happens in a namespace."""

    def __init__(self, namespace: Namespace, *, warnings: tuple[str, ...] = ()) -> None:
        self._namespace = namespace
        self._allowed = set(warnings)
        self._before = {node: left(node) for node in NODES}
        self._stop = threading.Event()
        self._doubles: list[str] = []
        self._looks = 0
        self._log = layout.CLUSTER / f"history-{namespace.name}.json"

    def __enter__(self) -> Invariants:
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        self._recorder = subprocess.Popen(
            ["sh", "-c", self._record()], env=ENVIRONMENT, start_new_session=True
        )
        return self

    def _record(self) -> str:
        """A watch ends when the API server does: it is begun again until it is killed."""
        kubectl = layout.BIN / "kubectl"
        return (
            f"while true; do {kubectl} -n {self._namespace.name} get vmi -w -o json "
            f"--output-watch-events >>{self._log} 2>/dev/null & wait $!; sleep 0.5; done"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop.set()
        self._sampler.join()
        try:
            if error is None:
                self._check()
        finally:
            os.killpg(self._recorder.pid, signal.SIGKILL)  # the shell, and the watch it began
            self._recorder.wait()
        self._log.unlink(missing_ok=True)

    def _sample(self) -> None:
        mark = f"guest={self._namespace.name}_"
        while not self._stop.wait(LOOK_EVERY):
            found = Counter(guests(mark))
            self._looks += 1
            self._doubles += [name for name, count in found.items() if count > 1]

    def _check(self) -> None:
        assert self._looks
        assert not self._doubles, f"two QEMU at once: {Counter(self._doubles)}"
        self._namespace.kubectl("delete", "vm,vmi,vmirs", "--all", "--timeout=120s", seconds=130)
        histories(self._log.read_text())
        warned = {
            (event["reason"], event["message"])
            for event in self._namespace.items("event")
            if event["type"] == "Warning" and "Virtual" in event["involvedObject"]["kind"]
        }
        unexpected = [each for each in warned if each[0] not in self._allowed]
        assert not unexpected, f"unexpected warnings: {unexpected}"
        for node in NODES:
            eventually(
                lambda node=node: not self._more(node),
                lambda node=node: f"{node} has more than before: {dict(self._more(node))}",
                90,
            )

    def _more(self, node: str) -> Counter[str]:
        return left(node) - self._before[node]


def guests(mark: str) -> list[str]:
    """The names of the guests that QEMU runs now, on any node: this host sees them all."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu-system" in command[:200] and mark.encode() in command:
            name = command.split(b"guest=", 1)[1].split(b",", 1)[0]
            found.append(name.decode())
    return found


def histories(text: str) -> None:
    """Every VMI's phases, as a watch told them: never back, and nothing after the end."""
    decoder, seen = json.JSONDecoder(), dict[str, str]()
    while text := text.lstrip():
        event, end = decoder.raw_decode(text)
        text = text[end:]
        vmi: Object = event["object"]
        if vmi.get("kind") != "VirtualMachineInstance":
            continue
        uid, phase = vmi["metadata"]["uid"], vmi["status"].get("phase", "")
        before = seen.get(uid, "")
        assert ORDER.index(phase) >= ORDER.index(before), f"from {before} to {phase}: {vmi}"
        assert before not in FINAL or phase == before, f"from {before} to {phase}: {vmi}"
        seen[uid] = phase
        stamps = [each["phase"] for each in vmi["status"].get("phaseTransitionTimestamps", ())]
        assert len(stamps) == len(set(stamps)), f"a phase twice: {stamps}"
    assert seen


def pids(node: str, what: str) -> list[int]:
    """The processes on a node whose command line holds `what`, as the node numbers them."""
    script = (
        'for p in /proc/[0-9]*; do echo "${p#/proc/} $(tr "\\0" " " <$p/cmdline 2>/dev/null)"; done'
    )
    lines = (line.split(" ", 1) for line in on_node(node, script).splitlines() if " " in line)
    return [int(pid) for pid, command in lines if what in command and "/proc/[0-9]" not in command]


def kill(node: str, what: str, signal: str = "KILL") -> None:
    found = pids(node, what)
    assert found, f"no {what} on {node}"
    on_node(node, f"kill -{signal} {' '.join(map(str, found))}")


def within(seconds: float, began: float) -> None:
    took = time.monotonic() - began
    assert took <= seconds, f"it took {took:.1f} s, more than {seconds:.0f} s"
