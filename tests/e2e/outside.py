"""Clients that others wrote, unmodified: each from its registry, at the version that its lock
names, into a folder of its own below .local, where their dependencies do not meet ours."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from localcluster import layout
from tests.e2e.support import ENVIRONMENT, Refused

LOCKS = Path(__file__).parent / "clients"
PLACES = layout.LOCAL / "clients"
UV = str(Path(sys.executable).parent / "uv")
INSTALLED_WITHIN = 300


def python(name: str) -> Path:
    """The folder of programs of the environment that clients/<name>.lock describes."""
    lock = LOCKS / f"{name}.lock"
    place = PLACES / name
    if not _current(place, lock):
        shutil.rmtree(place, ignore_errors=True)
        _install(UV, "venv", "-q", "--python", sys.executable, str(place))
        # The lock is complete, and leaves out what KubeVirt's part does not need.
        flags = ("--no-deps", "--require-hashes")
        _install(
            *(UV, "pip", "install", "-q", "--python", str(place / "bin/python"), *flags),
            *("--requirements", str(lock)),
        )
        _mark(place, lock)
    return place / "bin"


def npm(name: str) -> Path:
    """The folder of programs that clients/<name>/package-lock.json describes."""
    lock = LOCKS / name / "package-lock.json"
    place = PLACES / name
    if not _current(place, lock):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(lock.parent, place)
        _install("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", at=place)
        _mark(place, lock)
    return place / "node_modules/.bin"


def _install(*command: str, at: Path = LOCKS) -> None:
    done = subprocess.run(
        command, cwd=at, capture_output=True, text=True, timeout=INSTALLED_WITHIN, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"


def _current(place: Path, lock: Path) -> bool:
    mark = place / "installed"
    return mark.is_file() and mark.read_text() == _digest(lock)


def _mark(place: Path, lock: Path) -> None:
    (place / "installed").write_text(_digest(lock))


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes() + sys.executable.encode()).hexdigest()


def environment(home: Path, **more: str) -> dict[str, str]:
    """Of a user whose home and temporary files are in this folder; nothing of ours is in it."""
    left_out = ("PYTHONPATH", "VIRTUAL_ENV")
    return {
        **{name: value for name, value in ENVIRONMENT.items() if name not in left_out},
        "PATH": f"{layout.BIN}:{os.environ['PATH']}",
        "HOME": str(home),
        "TMPDIR": str(home),
        **more,
    }


def run(*command: str, environment: dict[str, str], seconds: float = 120) -> str:
    done = subprocess.run(
        command,
        env=environment,
        cwd=environment["HOME"],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    said = f"{done.stdout}\n{done.stderr}"
    if done.returncode != 0:
        raise Refused(f"{' '.join(command)}: exit code {done.returncode}\n{said}")
    return done.stdout


class Terminal:
    """A person who runs a program in a terminal."""

    def __init__(self, *command: str, environment: dict[str, str]) -> None:
        self.said = ""
        self._read = 0
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)
        if error:
            error.add_note(f"the terminal showed:\n{self.said[-4000:]}")

    @property
    def raw(self) -> bool:
        """Whether the program gets each key as it is: what is typed before that may be lost."""
        return not termios.tcgetattr(self._terminal)[3] & termios.ICANON

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def expect(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Reads on until this regular expression is found in what was not matched yet."""
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern, self.said[self._read :])):
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self._terminal], [], [], left)[0]
            assert ready, f"{pattern!r} did not come within {seconds:.0f} s"
            self.said += os.read(self._terminal, 65536).decode(errors="replace").replace("\r", "")
        self._read += match.end()
        return match


class Assistant:
    """Who uses a server of the Model Context Protocol on its standard input and output: a line
    of JSON-RPC 2.0 each way (modelcontextprotocol.io/specification/2025-06-18)."""

    VERSION = "2025-06-18"

    def __init__(self, *command: str, environment: dict[str, str]) -> None:
        self._number = 0
        self._said = b""
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=environment["HOME"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        me = {"name": "virtpod-tests", "version": "1"}
        self.server = self.ask(
            "initialize", protocolVersion=self.VERSION, capabilities={}, clientInfo=me
        )
        self._send({"method": "notifications/initialized"})

    def __enter__(self) -> Assistant:
        return self

    def __exit__(self, *_: object) -> None:
        """A server of this protocol ends with its input."""
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": parameters})
        deadline = time.monotonic() + 60
        while True:
            answer = json.loads(self._line(deadline))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                found: dict[str, Any] = answer["result"]
                return found

    def use(self, tool: str, **arguments: Any) -> str:
        """What a tool answers, as text; Refused when it says that it failed."""
        answer = self.ask("tools/call", name=tool, arguments=arguments)
        text = "\n".join(each["text"] for each in answer["content"])
        if answer.get("isError"):
            raise Refused(f"{tool} {arguments}: {text}")
        return text

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._process.stdin.flush()

    def _line(self, deadline: float) -> bytes:
        assert self._process.stdout
        while b"\n" not in self._said:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self._process.stdout], [], [], left)[0]
            part = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            assert part, f"no answer; it said: {self._said.decode(errors='replace')}"
            self._said += part
        line, _, self._said = self._said.partition(b"\n")
        return line
