"""`make test`: everything that must pass, cheap and telling things first.

The tests share one pytest run, so that its summary line is the last word.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from localcluster import build, layout
from localcluster.progress import Failed, step
from scripts.target import build_all

CODE = ("src", "tests", "localcluster", "images", "bench", "scripts")
CHECKS = (
    ("lint", ("ruff", "check", "-q", *CODE)),
    ("format", ("ruff", "format", "-q", "--check", *CODE)),
    ("layers", ("lint-imports", "--no-cache")),
    ("types", ("mypy",)),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make test")
    parser.add_argument("--long", action="store_true", help="what takes longer, instead")
    arguments = parser.parse_args()
    environment = {**os.environ, "KUBECONFIG": "", "IMAGE_PREFIX": ""}
    os.environ.update(environment)
    try:
        build_all(check, lambda: build.tool(build.HELM))
    except Failed as failure:
        print(f"test: {failure}", file=sys.stderr)
        return 1
    chosen = ("long" if arguments.long else "not long") + " and not hostdev"
    root = subprocess.run(
        [sys.executable, "-m", "images", "root", "virt-launcher"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", chosen],
        env={**os.environ, "VIRTPOD_TEST_ROOTFS": root, "PATH": path()},
        check=False,
    )
    return tests.returncode


def check() -> None:
    """What reads the code only. Raises Failed."""
    for name, command in CHECKS:
        with step(name):
            if subprocess.run(command, check=False).returncode != 0:
                raise Failed(f"`{' '.join(command)}` found something")


def path() -> str:
    return f"{layout.BIN}:{os.environ['PATH']}"


if __name__ == "__main__":
    sys.exit(main())
