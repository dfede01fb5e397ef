"""`python3 -m images`: build Virtpod's container images and take them to where they run."""

import argparse
import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from localcluster.progress import Failed, say

from . import catalogue, code, debian, deliver, layout
from .layers import Store

PREFIX = "virtpod.local"


def main() -> int:
    arguments = _parser().parse_args()
    try:
        with _alone():
            _run(arguments)
    except Failed as failure:
        print(f"images: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("images: interrupted; the next run goes on where this one was", file=sys.stderr)
        return 130
    return 0


def _run(arguments: argparse.Namespace) -> None:
    prefix = os.environ.get("IMAGE_PREFIX") or PREFIX
    if arguments.command == "push" and prefix == PREFIX:
        raise Failed("set IMAGE_PREFIX to the registry and folder to push to")
    if arguments.command == "root":
        print(debian.root(arguments.name))
        return

    if arguments.command == "stage":
        own = catalogue.CODE[arguments.name]
        code.install_dependencies(own, arguments.folder)
        code.install_project(own, arguments.folder)
        return

    store = Store()
    every = catalogue.UNASKED if arguments.command == "build" else catalogue.INSTALLED
    names = arguments.image or list(every)
    built = {name: catalogue.ALL[name].build(store) for name in names}
    match arguments.command:
        case "build":
            for image in built.values():
                say(f"{image.reference(prefix)}: {image.size / 1e6:.0f} MB")
        case "import":
            deliver.into_cluster(list(built.values()), prefix, store)
        case "push":
            deliver.to_registry(list(built.values()), prefix, store)
    if arguments.command != "build":
        print(json.dumps({name: each.reference(prefix) for name, each in built.items()}))
    if set(names) >= set(catalogue.UNASKED):
        store.prune(frozenset(layer.digest for each in built.values() for layer in each.layers))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One build at a time in a checkout."""
    layout.MADE.mkdir(parents=True, exist_ok=True)
    with (layout.MADE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in {
        "build": "make what is not made yet, or has changed",
        "import": "build, import into every node of the local cluster, and print as refs does",
        "push": "build, push to the registry that IMAGE_PREFIX names, and print as refs does",
        "refs": "build, and print the images' references as JSON",
    }.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("image", nargs="*", choices=[*catalogue.ALL, []], default=[])
    root = commands.add_parser("root", help="print where an image's Debian root file system lies")
    root.add_argument("name", choices=catalogue.CODE)
    stage = commands.add_parser("stage", help="put an image's Python code into a folder")
    stage.add_argument("name", choices=catalogue.CODE)
    stage.add_argument("folder", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
