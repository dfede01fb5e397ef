"""To another version and back, with five guests that run, and somebody asks each all the time.

The other version is the same code in other images, under another number: what is exchanged is all
that an upgrade exchanges. Meanwhile certificates rotate every minute, and virtual machines are let
in, one after the other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from images import catalogue, deliver, layers, oci
from images.__main__ import PREFIX
from localcluster import cluster as embedded
from localcluster import layout
from tests.e2e.support import (
    ENVIRONMENT,
    SYSTEM,
    Namespace,
    Object,
    bare,
    condition,
    eventually,
    kubectl,
    kubevirt,
    phase,
    run,
    vm,
)
from tests.e2e.test_operator import Mark, written
from virtpod.kube.client import Client
from virtpod.kube.config import Config
from virtpod.kube.errors import ApiError
from virtpod.kube.resources import VMIS
from virtpod.render.install import version_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

log = logging.getLogger(__name__)

NEXT = "v0.2.0"
GUESTS = [f"guest-{number}" for number in range(5)]
PORT = 7007
EVERY = 0.1
"""Seconds between two questions to a guest."""
SILENT = 5.0
"""Seconds without an answer: this machine may be busy, a guest that starts needs longer."""
A_SECOND = 20
OUTDATED = "kubevirt.io/outdatedLauncherImage"
ECHO = f"""#!/bin/sh
printf '#!/bin/sh\\ncat /proc/sys/kernel/random/boot_id\\nexec cat\\n' >/run/echo
chmod 755 /run/echo
(while :; do nc -l -p {PORT} -e /run/echo; done) >/dev/null 2>&1 &
"""
"""Says which boot this is, then whatever it is told."""
ROTATION = {
    "ca": {"duration": "6h", "renewBefore": "2h"},
    "server": {"duration": "5m", "renewBefore": "4m"},
}
POLL = """
import json, socket, sys, threading, time
stop, found = threading.Event(), {}

def poll(address):
    told = found[address] = {"boots": [], "answers": 0, "failures": [], "longest": 0.0}
    def connect():
        made = socket.create_connection((address, PORT), timeout=SILENT)
        lines = made.makefile("rb")
        told["boots"].append(lines.readline().decode().strip())
        return made, lines
    made, lines = connect()
    while not stop.wait(EVERY):
        asked = time.monotonic()
        try:
            made.sendall(b"%d\\n" % told["answers"])
            if lines.readline() != b"%d\\n" % told["answers"]:
                raise OSError("no answer")
            told["answers"] += 1
        except OSError as error:
            told["failures"].append(f"{time.time():.1f} {error}")
            time.sleep(1)
            try:
                made, lines = connect()
            except OSError:
                pass
        told["longest"] = max(told["longest"], time.monotonic() - asked)
    made.shutdown(socket.SHUT_RDWR)
    # It listens anew once it has seen that.
    until = time.monotonic() + 30
    while len(told["boots"]) < 2:
        try:
            connect()
        except OSError as error:
            if time.monotonic() > until:
                told["failures"].append(f"at last: {error}")
                break
            time.sleep(0.5)

threads = [threading.Thread(target=poll, args=(each,)) for each in sys.argv[1:]]
for each in threads:
    each.start()
print("polling", flush=True)
sys.stdin.read()
stop.set()
for each in threads:
    each.join()
print(json.dumps(found))
"""


@dataclass
class Admission:
    """Machines that are let in as dry runs, so many a second, and what went wrong."""

    namespace: str
    let_in: int = 0
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join()

    async def _run(self) -> None:
        config = Config.from_kubeconfig(str(layout.KUBECONFIG))
        async with Client(config, component="asking") as client, asyncio.TaskGroup() as tasks:
            began, number = time.monotonic(), 0
            while not self.stop.is_set():
                tasks.create_task(self._ask(client, number))
                number += 1
                await asyncio.sleep(max(0.0, began + number / A_SECOND - time.monotonic()))

    async def _ask(self, client: Client, number: int) -> None:
        spec = {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}}
        vmi = {"metadata": {"name": f"asked-{number}", "namespace": self.namespace}, "spec": spec}
        try:
            await client.create(VMIS, vmi, dry_run=True)
        except ApiError as error:
            self.failures.append(f"{time.time():.1f} {error}")
        else:
            self.let_in += 1


@contextmanager
def polled(addresses: list[str]) -> Iterator[dict[str, Object]]:
    """Asks guests from a node, until the end; the dict is filled then."""
    script = f"PORT, EVERY, SILENT = {PORT}, {EVERY}, {SILENT}\n{POLL}"
    found: dict[str, Object] = {}
    process = subprocess.Popen(
        embedded.within("node1", [sys.executable, "-c", script, *addresses]),
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline().strip() == "polling"
        yield found
        said, _ = process.communicate(timeout=60)
        found |= json.loads(said)
    finally:
        process.kill()
        process.wait()


def components() -> Object:
    found = json.loads(kubectl("-n", SYSTEM, "get", "deployment,daemonset", "-o", "json"))
    return {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in found["items"]}


@dataclass(frozen=True)
class Version:
    number: str
    image: str
    launcher: str

    @property
    def name(self) -> str:
        return version_of(self.number, self.image, self.launcher)

    def brought(self) -> None:
        """As its user does: the manifests of virt-operator, and no more."""
        references = ("--image", self.image, "--launcher-image", self.launcher)
        words = ("install", "--dry-run", "--only", "operator", "--tag", self.number, *references)
        manifests = run(sys.executable, "-m", "virtpod.cli", *words)
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifests)

        def claim(found: Object) -> bool:
            status = found["status"]
            return (
                status.get("observedKubeVirtVersion") == self.name
                and condition(found, "Available") == "True"
                and condition(found, "Progressing") == "False"
            )

        found = Namespace(SYSTEM).wait("kubevirt", "kubevirt", claim, f"at {self.name}", 300)
        status = found["status"]
        assert status["targetKubeVirtVersion"] == status["operatorVersion"] == self.name
        assert status["observedDeploymentID"] == status["targetDeploymentID"]
        assert status["observedGeneration"] == found["metadata"]["generation"]
        for name, spec in components().items():
            assert spec["containers"][0]["image"] == self.image, name


@pytest.fixture(scope="module")
def this(cluster: None) -> Version:
    spec = components()["virt-handler"]
    image, launcher = spec["containers"][0]["image"], spec["initContainers"][0]["image"]
    number = kubevirt()["status"]["observedKubeVirtVersion"]
    found = Version(number.partition("-")[0], image, launcher)
    assert found.name == number
    return found


@pytest.fixture(scope="module")
def following(cluster: None) -> Version:
    """Its images have one small layer more, which the nodes lack."""
    store = layers.Store()
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "etc").mkdir()
        (Path(root) / "etc" / "virtpod-release").write_text(f"{NEXT}\n")
        extra = store.add("release", NEXT, lambda stream: layers.write(Path(root), stream, owner=0))
    built = []
    for name in ("virtpod", "virt-launcher"):
        image = catalogue.ALL[name]
        built.append(oci.image(name, (*image.layers(store), extra), image.settings))
    deliver.into_cluster(built, PREFIX, store)
    return Version(NEXT, *(each.reference(PREFIX) for each in built))


@pytest.fixture(scope="module")
def guests(namespace: Namespace) -> dict[str, Object]:
    data = {"name": "data", "cloudInitNoCloud": {"userData": ECHO}}
    for name in GUESTS:
        machine = vm(name)
        spec = machine["spec"]["template"]["spec"]
        spec["volumes"] = [*(v for v in spec["volumes"] if "cloudInitNoCloud" not in v), data]
        disks = [disk for disk in spec["domain"]["devices"]["disks"] if disk["name"] == "root"]
        spec["domain"]["devices"]["disks"] = [*disks, {"name": "data", "disk": {"bus": "virtio"}}]
        namespace.apply(machine)
    found = {name: namespace.running(name, seconds=300) for name in GUESTS}
    for name, vmi in found.items():
        eventually(partial(boot, address(vmi)), f"{name} answers", 120)
    return found


def boot(address: str) -> str:
    """What the guest says of its boot; "" where it says nothing yet."""
    script = (
        "import socket, sys; made = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); "
        "print(made.makefile().readline().strip())"
    )
    command = embedded.within("node1", [sys.executable, "-c", script, address, str(PORT)])
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    return done.stdout.strip()


def address(vmi: Object) -> str:
    return str(vmi["status"]["interfaces"][0]["ipAddress"])


def configured(**spec: object) -> None:
    Namespace(SYSTEM).patch("kubevirt", "kubevirt", {"spec": spec})


@pytest.mark.configures("certificateRotateStrategy.selfSigned.server.*", "workloadUpdateStrategy.*")
def test_to_the_next_version_and_back_while_guests_answer_and_machines_are_let_in(
    namespace: Namespace, guests: dict[str, Object], this: Version, following: Version
) -> None:
    addresses = [address(vmi) for vmi in guests.values()]
    admission, since = Admission(namespace.name), Mark.now()
    rotation = kubevirt()["spec"].get("certificateRotateStrategy")
    kvs = Namespace(SYSTEM)
    try:
        with polled(addresses) as answers, admission.going_on():
            configured(certificateRotateStrategy={"selfSigned": ROTATION})
            following.brought()
            kvs.wait("kubevirt", "kubevirt", counted(len(GUESTS)), "counted as outdated")
            for name in GUESTS:
                assert OUTDATED in namespace.get("vmi", name)["metadata"]["labels"]
            # One that comes in between is of the version that goes again.
            namespace.apply(bare("between"))
            between = namespace.wait(
                "vmi", "between", lambda vmi: phase(vmi) == "Running", "Running"
            )
            assert namespace.launcher(between)["spec"]["containers"][0]["image"] == (
                following.launcher
            )
            this.brought()
            kvs.wait("kubevirt", "kubevirt", counted(1), "counted as outdated")
            eventually(lambda: len(renewed(since)) >= 2, "certificates are renewed twice", 150)
    finally:
        configured(certificateRotateStrategy=rotation)
    for told in answers.values():
        assert told["failures"] == []
        assert len(told["boots"]) == 2
        assert len(set(told["boots"])) == 1, "it has booted anew"
        assert told["longest"] < SILENT
        assert told["answers"] > 100
    assert admission.failures == []
    assert admission.let_in > 500
    for name, before in guests.items():
        after = namespace.get("vmi", name)
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert OUTDATED not in after["metadata"]["labels"]
    found = {name: (told["answers"], round(told["longest"], 2)) for name, told in answers.items()}
    log.info("polled %s; %d let in; %d certificates", found, admission.let_in, len(renewed(since)))


def renewed(since: Mark) -> list[str]:
    """Each time that virt-api was given another certificate."""
    return [each for each in written(since) if "secrets/kubevirt-virt-api-certs" in each]


def counted(number: int) -> Callable[[Object], bool]:
    """Whether the KubeVirt object counts so many guests of another version."""

    def claim(found: Object) -> bool:
        count = found["status"].get("outdatedVirtualMachineInstanceWorkloads") or 0
        return bool(count == number)

    return claim


@pytest.mark.configures("workloadUpdateStrategy.*")
def test_who_is_of_another_version_starts_anew_where_that_is_wanted(
    namespace: Namespace, guests: dict[str, Object], this: Version
) -> None:
    """And the namespace limits its CPUs then, for another setting is obeyed at once."""
    before = namespace.get("vmi", "between")
    labels = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    configured(
        configuration={"autoCPULimitNamespaceLabelSelector": labels},
        workloadUpdateStrategy={"workloadUpdateMethods": ["Evict"]},
    )
    try:
        uid = before["metadata"]["uid"]
        after = namespace.wait(
            "vmi",
            "between",
            lambda vmi: phase(vmi) == "Running" and vmi["metadata"]["uid"] != uid,
            "anew",
            120,
        )
        compute = namespace.launcher(after)["spec"]["containers"][0]
        assert compute["image"] == this.launcher
        assert compute["resources"]["limits"]["cpu"] == "1"
        namespace.told("between", "SuccessfulEvict")
        Namespace(SYSTEM).wait("kubevirt", "kubevirt", counted(0), "none is outdated")
    finally:
        configured(
            configuration={"autoCPULimitNamespaceLabelSelector": None},
            workloadUpdateStrategy={"workloadUpdateMethods": None},
        )
    for name, vmi in guests.items():
        assert namespace.get("vmi", name)["metadata"]["uid"] == vmi["metadata"]["uid"]
