"""virtctl pause vm|vmi NAME"""

from __future__ import annotations

import argparse

from virtpod.cli import _pausing

arguments = _pausing.arguments


def run(args: argparse.Namespace) -> int:
    return _pausing.run(args, "pause")
