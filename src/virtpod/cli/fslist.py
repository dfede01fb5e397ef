"""virtctl fslist VMI"""

from __future__ import annotations

import argparse

from virtpod.cli import _guest

arguments = _guest.arguments


def run(args: argparse.Namespace) -> int:
    return _guest.run(args, "filesystemlist")
