"""What a user has: kubectl, virtctl, a serial console, and manifests; and a look into a node."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

from localcluster import cluster, images, layout
from tests import shown

ROOT = Path(__file__).resolve().parents[2]
GUEST = "virtpod.local/virtpod-demo-guest:v0.1.0"
SYSTEM = "kubevirt"
BOOT = 120
"""Seconds that a guest may need to its login prompt when the machine is busy with other things."""

SIX = (
    "for i in $(seq 40); do ip -6 addr show scope global >/tmp/six; "
    "grep -q /128 /tmp/six && ! grep -q tentative /tmp/six && break; sleep 1; done"
)
"""Run in a guest, waits for the IPv6 address that its network gave it; before the kernel has looked
for duplicates, whoever calls there is refused."""

ENVIRONMENT = {
    **os.environ,
    "KUBECONFIG": str(layout.KUBECONFIG),
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]),
}

Object = dict[str, Any]
T = TypeVar("T")


class Refused(AssertionError):
    """A command ended with an error; the text is what it said."""


def run(*words: str, stdin: str | None = None, seconds: float = 120) -> str:
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=ENVIRONMENT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        raise Refused(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}{done.stdout}")
    return done.stdout


def kubectl(*words: str, stdin: str | None = None, seconds: float = 120) -> str:
    return run(str(layout.BIN / "kubectl"), *words, stdin=stdin, seconds=seconds)


def on_node(node: str, script: str) -> str:
    """What a shell script says that root runs in a node's namespaces."""
    return run(*cluster.within(node, ["sh", "-c", script]))


def eventually(look: Callable[[], T], what: str | Callable[[], str], seconds: float = 60) -> T:
    """For what cannot be watched. Each look is a process of its own, so no pause is needed."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        said = what if isinstance(what, str) else what()
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {said}"
    return found


class Namespace:
    """The user's view of one namespace."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kubectl(self, *words: str, stdin: str | None = None, seconds: float = 120) -> str:
        return kubectl("--namespace", self.name, *words, stdin=stdin, seconds=seconds)

    def virtctl(self, *words: str, seconds: float = 120) -> str:
        program = (sys.executable, "-m", "virtpod.cli")
        return run(*program, *words, "--namespace", self.name, seconds=seconds)

    def apply(self, *objects: Object) -> str:
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        shown.given_object(document)
        return self.kubectl("apply", "--filename", "-", stdin=json.dumps(document))

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.kubectl("get", kind, name, "--output", "json"))
        shown.given_object(found)
        return found

    def items(self, kind: str, selector: str = "") -> list[Object]:
        words = ("--selector", selector) if selector else ()
        found: Object = json.loads(self.kubectl("get", kind, *words, "--output", "json"))
        items: list[Object] = found["items"]
        return items

    def patch(self, kind: str, name: str, body: Object) -> None:
        self.kubectl("patch", kind, name, "--type", "merge", "--patch", json.dumps(body))

    def delete(self, kind: str, *names: str) -> None:
        """And waits until they are gone."""
        self.kubectl("delete", kind, *names, "--ignore-not-found", "--timeout", "90s")

    def column(self, kind: str, name: str, title: str) -> str:
        """What `kubectl get` shows to the user in this column, found by its title's place."""
        head, row = self.kubectl("get", kind, name, "--output", "wide").splitlines()[:2]
        words = list(re.finditer(r"\S+(?: \S+)*", head))
        place = next(match.start() for match in words if match.group() == title)
        return row[place:].split()[0]

    def watch(self, kind: str, name: str) -> Watch:
        return Watch(self.name, kind, name)

    def wait(
        self,
        kind: str,
        name: str,
        claim: Callable[[Object], object],
        what: str,
        seconds: float = 90,
    ) -> Object:
        """The object, at the first moment when it is there and the claim holds."""
        with self.watch(kind, name) as watch:
            found = watch.until(lambda _, found: claim(found), what, seconds)
        shown.given_object(found)
        return found

    def gone(self, kind: str, name: str, seconds: float = 90) -> None:
        self.kubectl(
            *("wait", "--for=delete", f"{kind}/{name}", f"--timeout={seconds:.0f}s"),
            seconds=seconds + 10,
        )

    def running(self, name: str, other_than: str = "", seconds: float = BOOT) -> Object:
        """The VMI once it runs and is ready; a new one where `other_than` is the old one's uid."""

        def claim(vmi: Object) -> bool:
            new = vmi["metadata"]["uid"] != other_than
            return new and phase(vmi) == "Running" and condition(vmi, "Ready") == "True"

        return self.wait("vmi", name, claim, "Running and ready", seconds)

    def launcher(self, vmi: Object) -> Object:
        """The one pod of a VMI."""
        pods = self.items("pod", f"kubevirt.io/created-by={vmi['metadata']['uid']}")
        assert len(pods) == 1, [pod["metadata"]["name"] for pod in pods]
        return pods[0]

    def compute(self, pod: str, *command: str) -> str:
        """A command in a launcher pod."""
        return self.kubectl("exec", pod, "--container", "compute", "--", *command)

    def events(self, name: str) -> list[tuple[str, str]]:
        """(reason, message) of the events about objects of this name."""
        field = f"involvedObject.name={name}"
        said = self.kubectl("get", "events", "--field-selector", field, "--output", "json")
        return [(item["reason"], item["message"]) for item in json.loads(said)["items"]]

    def told(self, name: str, *reasons: str) -> list[tuple[str, str]]:
        """The same, once events for all these reasons are there: they come after what they tell of.
        Those of an object before it that had its name are there as well."""

        def all_of_them() -> list[tuple[str, str]]:
            said = self.events(name)
            return said if set(reasons) <= {reason for reason, _ in said} else []

        return eventually(all_of_them, lambda: f"{reasons}, but {self.events(name)}")


def phase(thing: Object) -> str:
    return str((thing.get("status") or {}).get("phase", ""))


def condition(thing: Object, kind: str) -> str:
    """The status of a condition; "" where it is not there."""
    return str(conditions(thing).get(kind, {}).get("status", ""))


def conditions(thing: Object) -> dict[str, Object]:
    found = (thing.get("status") or {}).get("conditions") or []
    return {each["type"]: each for each in found}


class Watch:
    """`kubectl get --watch` of one name; says what is there already, then each change."""

    def __init__(self, namespace: str, kind: str, name: str) -> None:
        self.seen: list[tuple[str, Object]] = []
        self._text = ""
        self._what = f"{kind} {namespace}/{name}"
        self._process = subprocess.Popen(
            [
                *(str(layout.BIN / "kubectl"), "--namespace", namespace, "get", kind),
                *("--field-selector", f"metadata.name={name}", "--output", "json"),
                *("--watch", "--output-watch-events"),
            ],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def until(self, claim: Callable[[str, Object], object], what: str, seconds: float) -> Object:
        """`claim` gets ADDED, MODIFIED or DELETED and the object; what was seen stays in `seen`."""
        deadline = time.monotonic() + seconds
        decoder = json.JSONDecoder()
        assert self._process.stdout
        while True:
            self._text = self._text.lstrip()
            try:
                event, end = decoder.raw_decode(self._text)
            except ValueError:
                part = read(self._process.stdout, deadline)
                last = self.seen[-1] if self.seen else ("never there", {"status": None})
                assert part, (
                    f"{self._what}: not within {seconds:.0f} s: {what}; last seen: {last[0]} "
                    f"{json.dumps(last[1].get('status'), indent=1)}\n{self._text[:2000]}"
                )
                self._text += part.decode(errors="replace")
                continue
            self._text = self._text[end:]
            self.seen.append((event["type"], event["object"]))
            if claim(event["type"], event["object"]):
                found: Object = event["object"]
                return found


def read(stream: IO[bytes], deadline: float) -> bytes:
    """What there is to read; nothing when the other end closed it or the time is over."""
    left = deadline - time.monotonic()
    if left <= 0 or not select.select([stream], [], [], left)[0]:
        return b""
    return os.read(stream.fileno(), 65536)


class Console:
    """A person at the serial console, through `virtctl console`."""

    def __init__(self, namespace: str, name: str) -> None:
        self.transcript = ""
        self._read = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "virtpod.cli", "console", name, "--namespace", namespace],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._connected(time.monotonic() + BOOT)

    def _connected(self, deadline: float) -> None:
        """What is typed before the connection stands would be lost with a reset terminal."""
        assert self._process.stderr
        said = b""
        while b"Successfully connected" not in said:
            part = read(self._process.stderr, deadline)
            if not part:
                self._process.kill()
                raise AssertionError(f"the console was not opened: {said.decode()}")
            said += part

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=10)
        self._process.kill()
        if error:
            error.add_note(f"the console said:\n{self.transcript[-4000:]}")

    def type(self, text: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def expect(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Reads on until this regular expression is found in what was not matched yet."""
        deadline = time.monotonic() + seconds
        assert self._process.stdout
        while not (match := re.search(pattern, self.transcript[self._read :])):
            part = read(self._process.stdout, deadline)
            assert part, (
                f"{pattern!r} did not come within {seconds:.0f} s, or the console closed; "
                f"it said:\n{self.transcript[-4000:]}"
            )
            self.transcript += part.decode(errors="replace").replace("\r", "")
        self._read += match.end()
        return match

    def closed(self, seconds: float = 60) -> str:
        """Reads to the end: the guest has stopped. Returns what it said until then."""
        deadline = time.monotonic() + seconds
        assert self._process.stdout
        while part := read(self._process.stdout, deadline):
            self.transcript += part.decode(errors="replace").replace("\r", "")
        assert time.monotonic() < deadline, f"still open after {seconds:.0f} s"
        return self.transcript[self._read :]

    def login(self, user: str = "root", password: str = "demo", seconds: float = BOOT) -> Console:
        """Logs in, or goes on where somebody has logged in."""
        self.type("\n")
        if self.expect(r"login: |[#$] (?:\x1b\[6n)?$", seconds).group().startswith("login"):
            self.type(f"{user}\n")
            self.expect("Password: ")
            self.type(f"{password}\n")
            self.expect(r"[#$] ")
        return self

    def run(self, command: str, seconds: float = 60) -> str:
        """The output of a shell command that succeeds."""
        mark = secrets.token_hex(4)
        # What is echoed differs from what is printed by the two quotes.
        self.type(f"echo B''EGIN-{mark}; {{ {command}; }} 2>&1; echo E''ND-{mark}-$?\n")
        match = self.expect(rf"(?s)BEGIN-{mark}\n(.*?)END-{mark}-(\d+)\n", seconds)
        assert match[2] == "0", f"`{command}` ended with {match[2]}: {match[1]}"
        return match[1].strip()

    def uptime(self) -> float:
        return float(self.run("cut -d' ' -f1 /proc/uptime"))


def vm(name: str, strategy: str = "Always", image: str = GUEST, **spec: Any) -> Object:
    """A small virtual machine with a network; `spec` holds more fields of its VMI's spec."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name},
        "spec": {
            "runStrategy": strategy,
            "template": {
                "metadata": {"labels": {"vm": name}},
                "spec": vmi_spec(image, **spec),
            },
        },
    }


def bare(name: str, strategy: str = "Always") -> Object:
    """A machine without a disk: it runs its firmware for ever, heeds nothing and costs little."""
    devices = {"autoattachGraphicsDevice": False, "autoattachPodInterface": False}
    spec = {
        "terminationGracePeriodSeconds": 0,
        "domain": {"memory": {"guest": "8Mi"}, "devices": devices},
    }
    whole = vm(name, strategy)
    whole["spec"]["template"]["spec"] = spec
    return whole


def vmi(name: str, image: str = GUEST, **spec: Any) -> Object:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": name, "labels": {"vm": name}},
        "spec": vmi_spec(image, **spec),
    }


def vmi_spec(image: str = GUEST, **spec: Any) -> Object:
    return {
        "terminationGracePeriodSeconds": 30,
        "domain": {
            "memory": {"guest": "128Mi"},
            "devices": {
                "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                "interfaces": [{"name": "default", "masquerade": {}}],
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [{"name": "root", "containerDisk": {"image": image}}],
        **spec,
    }


def server(name: str) -> list[Object]:
    """A pod that serves HTTP, and a Service before it."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "main",
                        "image": images.TOOLS.reference,
                        "command": ["httpd", "-f", "-p", "8080", "-h", "/www"],
                    }
                ],
            },
        },
        service(name, {"app": name}, 8080),
    ]


def service(name: str, selector: dict[str, str], port: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": port}]},
    }


def static_volume(
    name: str, node: str, folder: str, size: str, claim: Object, storage_class: str = ""
) -> Object:
    """A folder of a node as a volume; `claim` is a reference to the one that it is for."""
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": size},
            "claimRef": claim,
            "hostPath": {"path": folder, "type": "Directory"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
            "storageClassName": storage_class,
        },
    }


def kubevirt() -> Object:
    found: Object = json.loads(kubectl("-n", SYSTEM, "get", "kubevirt", "kubevirt", "-o", "json"))
    return found


@contextlib.contextmanager
def configured(*gates: str) -> Iterator[None]:
    """With these feature gates on, beside those that are."""

    def set_to(names: list[str] | None) -> None:
        changes = {"developerConfiguration": {"featureGates": names}}
        body = json.dumps({"spec": {"configuration": changes}})
        kubectl("-n", SYSTEM, "patch", "kubevirt", "kubevirt", "--type", "merge", "-p", body)
        available()

    developer = kubevirt()["spec"]["configuration"].get("developerConfiguration") or {}
    before = developer.get("featureGates")
    set_to([*(before or ()), *gates])
    try:
        yield
    finally:
        set_to(before)


def available(seconds: float = 180) -> None:
    """Waits until the KubeVirt object says that all is there, as its generation wants it."""

    def claim(found: Object) -> bool:
        return (
            (found.get("status") or {}).get("observedGeneration")
            == found["metadata"].get("generation")
            and condition(found, "Available") == "True"
            and condition(found, "Progressing") == "False"
            and condition(found, "Degraded") == "False"
        )

    Namespace(SYSTEM).wait("kubevirt", "kubevirt", claim, "available", seconds)


def why(namespace: Namespace, name: str, kind: str = "vm") -> Object:
    """What virtctl answers; its exit code says whether the VM runs."""
    try:
        said = namespace.virtctl("why", kind, name, "--output", "json")
        assert json.loads(said)["state"] == "runs"
    except Refused as refused:
        said = str(refused)[str(refused).index("{") :]
        assert json.loads(said)["state"] != "runs"
    found: Object = json.loads(said)
    return found


def obstructed(code: str) -> Callable[[Object], bool]:
    """Whether an object says that this keeps it from running."""
    return lambda obj: conditions(obj).get("Obstructed", {}).get("reason") == code


def ready(node: str) -> bool:
    """Whether Kubernetes says so."""
    return (
        condition(json.loads(kubectl("get", "node", node, "--output", "json")), "Ready") == "True"
    )


def metrics(pod: Object) -> str:
    """What a component's pod answers on /metrics."""
    name = f"https:{pod['metadata']['name']}:8443"
    return kubectl("get", "--raw", f"/api/v1/namespaces/{SYSTEM}/pods/{name}/proxy/metrics")


def component_pods(component: str) -> Iterator[Object]:
    for pod in Namespace(SYSTEM).items("pod", f"kubevirt.io={component}"):
        if "deletionTimestamp" not in pod["metadata"]:
            yield pod
