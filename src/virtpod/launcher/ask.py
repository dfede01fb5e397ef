"""virt-probe: one question of the kubelet to the launcher beside it, and its answer as exit code.

It runs every few seconds in every pod with such a probe, so it imports next to nothing.
"""

from __future__ import annotations

import json
import socket
import sys

from virtpod.domain.paths import LAUNCHER_SOCKET, SOCKETS

Message = dict[str, object]

USAGE = "virt-probe --timeoutSeconds N (--guestAgentPing | --command PROGRAM [-- ARGUMENT...])"
LARGEST = 64 * 1024
"""Bytes of an answer."""


def main() -> int:
    try:
        question, timeout = understood(sys.argv[1:])
    except (ValueError, IndexError):
        sys.stderr.write(f"usage: {USAGE}\n")
        return 2
    try:
        answer = ask(question, timeout + 1)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"virt-launcher does not answer: {error}\n")
        return 1
    match answer.get("type"):
        case "done":
            return 0
        case "executed":
            sys.stdout.write(str(answer.get("output", "")))
            code = answer.get("code")
            return min(code, 255) if isinstance(code, int) and code >= 0 else 1
        case _:
            sys.stderr.write(f"{answer.get('message', 'virt-launcher answered nonsense')}\n")
            return 1


def understood(words: list[str]) -> tuple[Message, float]:
    """The question, and the seconds that it may take. Raises ValueError, IndexError."""
    if words[0] != "--timeoutSeconds":
        raise ValueError
    timeout = float(words[1])
    match words[2:]:
        case ["--guestAgentPing"]:
            return {"type": "ping", "id": 1, "within": timeout}, timeout
        case ["--command", command]:
            arguments: list[str] = []
        case ["--command", command, "--", *arguments]:
            pass
        case _:
            raise ValueError
    question = {"type": "execute", "command": command, "arguments": arguments, "within": timeout}
    return {"id": 1, **question}, timeout


def ask(question: Message, within: float) -> Message:
    """The launcher's answer. Raises OSError, ValueError."""
    body = json.dumps(question).encode()
    with socket.socket(socket.AF_UNIX) as launcher:
        launcher.settimeout(within)
        launcher.connect(f"{SOCKETS}/{LAUNCHER_SOCKET}")
        launcher.sendall(len(body).to_bytes(4, "big") + body)
        size = int.from_bytes(_exactly(launcher, 4), "big")
        if size > LARGEST:
            raise ValueError(f"{size} bytes")
        answer = json.loads(_exactly(launcher, size))
    return answer if isinstance(answer, dict) else {}


def _exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = stream.recv(size - len(data))
        if not more:
            raise ValueError("it has hung up")
        data += more
    return data


if __name__ == "__main__":
    sys.exit(main())
