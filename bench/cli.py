"""How long virtctl takes to start: whoever types a command waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median

COMMANDS = {"help": ("--help",), "version": ("version", "--client")}
TIMES = 11
LISTED = """
import sys
from virtpod.cli import __main__ as cli
cli.run(["version", "--client"])
print(len(sys.modules))
"""


def starts() -> dict[str, float]:
    """Rows: milliseconds, the median of several, and how much is imported."""
    measured = {
        f"virtctl.{name}": median(_took(words) for _ in range(TIMES)) * 1000
        for name, words in COMMANDS.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", LISTED], capture_output=True, text=True, check=True, timeout=60
    )
    return {**measured, "virtctl.modules": float(done.stdout.split()[-1])}


def _took(words: tuple[str, ...]) -> float:
    program = os.path.join(os.path.dirname(sys.executable), "virtctl")
    began = time.perf_counter()
    subprocess.run([program, *words], stdout=subprocess.DEVNULL, check=True, timeout=60)
    return time.perf_counter() - began
