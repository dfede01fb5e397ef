"""`python3 -m localcluster`: the embedded Kubernetes from the command line."""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from . import build, cluster, layout, networks, policy
from .progress import Failed, tail

ROOTS = ("up", "down", "import", "enter", "crash", "networks", "policy")
"""Commands that make namespaces, or enter them."""


def main() -> int:
    arguments = _parser().parse_args()
    try:
        return _run(arguments)
    except Failed as failure:
        for log in failure.logs:
            print(tail(log), file=sys.stderr)
        print(f"localcluster: {failure}", file=sys.stderr)
    except subprocess.CalledProcessError as failure:
        said = failure.stderr.decode() if isinstance(failure.stderr, bytes) else failure.stderr
        print(f"localcluster: {failure}\n{said or ''}", file=sys.stderr)
    except KeyboardInterrupt:
        print("localcluster: interrupted; `down` takes away what was begun", file=sys.stderr)
    return 1


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command in ROOTS and os.geteuid() != 0:
        raise Failed("namespaces are made by root only: run this as root")
    match arguments.command:
        case "up":
            cluster.up(arguments.nodes, tuple(arguments.forward))
        case "down":
            cluster.down()
        case "build":
            build.install_packages()
            build.build()
        case "import":
            cluster.import_images(arguments.archive)
        case "crash":
            cluster.crash(arguments.node)
        case "networks":
            (networks.on if arguments.state == "on" else networks.off)()
        case "policy":
            (policy.on if arguments.state == "on" else policy.off)()
        case "enter":
            command = cluster.within(arguments.machine, arguments.words or ["bash"])
            path = f"{layout.BIN}:{os.environ['PATH']}:/usr/sbin:/sbin"  # ctr, kubectl, nft
            os.execvpe(command[0], command, {**os.environ, "PATH": path})
        case "status":
            found = cluster.status()
            print(json.dumps(dataclasses.asdict(found) | {"healthy": found.healthy}, indent=2))
            return 0 if found.healthy else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m localcluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    up = commands.add_parser("up", help="build and start what is missing")
    up.add_argument("--nodes", type=int, default=1, choices=range(1, layout.MOST_NODES + 1))
    up.add_argument(
        "--forward",
        type=int,
        action="append",
        default=[],
        metavar="PORT",
        help="let 127.0.0.1:PORT within each node lead to the host's",
    )
    commands.add_parser("down", help="take away what `up` made")
    commands.add_parser("status", help="what runs, as JSON; fails when something does not")
    commands.add_parser("build", help="build the programs only")

    into = commands.add_parser("import", help="import image archives into every node")
    into.add_argument("archive", type=Path, nargs="+")

    crash = commands.add_parser("crash", help="kill a node's first process; `up` boots it again")
    crash.add_argument("node", choices=[node.name for node in layout.ALL_NODES])

    for name, text in {
        "networks": "Multus, for pods that start from now on",
        "policy": "an engine that enforces NetworkPolicy",
    }.items():
        option = commands.add_parser(name, help=text)
        option.add_argument("state", choices=["on", "off"])

    enter = commands.add_parser("enter", help="run a command within a node or the control plane")
    enter.add_argument("machine")
    enter.add_argument("words", nargs="*", metavar="COMMAND", help="after --; a shell by default")
    return parser


if __name__ == "__main__":
    sys.exit(main())
