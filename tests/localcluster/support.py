"""What the tests of the local cluster share: kubectl, waiting, the shape of a pod."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl within one namespace."""

    namespace: str

    def __call__(self, *words: str, stdin: str | None = None, seconds: float = 90) -> str:
        command = [str(ROOT / ".local/bin/kubectl"), "--namespace", self.namespace, *words]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    def apply(self, *objects: Object) -> None:
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self("apply", "--filename", "-", stdin=json.dumps(document))

    def wait_ready(self, *pods: str) -> None:
        names = [f"pod/{pod}" for pod in pods]
        self("wait", "--for=condition=Ready", "--timeout=60s", *names)

    def get(self, *words: str) -> Object:
        answer: Object = json.loads(self("get", *words, "--output", "json"))
        return answer


def eventually(claim: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Each probe is a process of its own, so no pause is needed between two."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"


def localcluster(
    *words: str, root: Path = ROOT, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "localcluster", *words]
    return subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=seconds, check=False
    )


def pod(name: str, image: str, node: str, *command: str, **spec: Any) -> Object:
    """A pod of one container on a given node; `container` holds more fields of the container."""
    container = {
        "name": "main",
        "image": image,
        "command": list(command) or ["sleep", "infinity"],
        **spec.pop("container", {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            **spec,
        },
    }
