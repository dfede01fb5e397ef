"""virtctl image-upload: there is no server for it yet, and it says so."""

from __future__ import annotations

import argparse
import sys

EXAMPLES = """instead:
  kubectl apply a DataVolume with a source, where CDI serves DataVolumes; or make the image a
  container image that has it in /disk/, and name that as containerDisk"""

TEXT = (
    "this version has no server that takes uploads: import the image from a URL or a registry by "
    "a DataVolume, or put it into a containerDisk (virtctl image-upload --help)"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="+", metavar="[dv|pvc] NAME")
    for flag in (
        *("size", "storage-class", "access-mode", "volume-mode", "image-path", "archive-path"),
        *("uploadproxy-url", "default-instancetype", "default-instancetype-kind"),
        *("default-preference", "default-preference-kind", "wait-secs", "retry"),
    ):
        parser.add_argument(f"--{flag}", default="", help=argparse.SUPPRESS)
    for flag in ("insecure", "no-create", "force-bind", "datasource"):
        parser.add_argument(f"--{flag}", action="store_true", help=argparse.SUPPRESS)


def run(_args: argparse.Namespace) -> int:
    print(f"error: {TEXT}", file=sys.stderr)
    return 1
