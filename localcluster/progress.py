"""What goes on, how far it is and how long it took, as lines that also read well in a CI log."""

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Of the whole: a program that runs another hands its own beginning on.
BEGUN = float(os.environ.setdefault("VIRTPOD_BEGUN", str(time.monotonic())))
STARTED = "=== start"  # what a log says whenever its service is started, with the how manieth
MOST_STARTS = 5


class Failed(Exception):
    """The cluster cannot be had; the message says why and the logs named say more."""

    def __init__(self, message: str, *logs: Path) -> None:
        super().__init__(message)
        self.logs = logs


def say(message: str) -> None:
    print(f"[{time.monotonic() - BEGUN:6.1f}s] {message}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(
    what: str, *, every: float = 15.0, how_far: Callable[[], str] | None = None
) -> Iterator[None]:
    """Announce `what`, repeat it with the time passed while it lasts, and say how long it took."""
    begun = time.monotonic()
    over = threading.Event()

    def remind() -> None:
        while not over.wait(every):
            far = f", {how_far()}" if how_far else ""
            say(f"{what}: {time.monotonic() - begun:.0f} s so far{far}")

    say(f"{what} ...")
    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        over.set()
        reminder.join()
    say(f"{what}: done in {time.monotonic() - begun:.1f} s")


def until(
    what: str, ready: Callable[[], bool], *, seconds: float, logs: tuple[Path, ...] = ()
) -> None:
    """Probe until `ready()`. It is a failure when that takes more than `seconds`, or when one of
    the services whose logs are given ends again and again.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not ready():
        if time.monotonic() > deadline:
            raise Failed(f"{what} not ready after {seconds:.0f} s", *logs)
        for log in logs:
            if _starts(log) > MOST_STARTS:
                raise Failed(f"{what} cannot get ready: see {log}", *logs)
        pause.wait(0.1)


def _starts(log: Path) -> int:
    """How often the service has been started since its machine was."""
    found = re.findall(rf"^{STARTED} (\d+)", tail(log, 200), re.MULTILINE)
    return int(found[-1]) if found else 0


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log, at most 64 KiB of it; how it says that it is not there."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 65536))
            kept = file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError as error:
        kept = [f"({error.strerror})"]
    return "\n".join([f"--- {log}", *kept])
