"""virtctl scp FROM TO: the local scp, through a tunnel of port-forward.

One of both is within a guest: [USER@]TYPE/NAME[/NAMESPACE]:PATH.
"""

from __future__ import annotations

import argparse

from virtpod.cli import ssh
from virtpod.cli.session import RESOURCES, Failure

EXAMPLES = """examples:
  virtctl scp report.txt user@vmi/demo:/tmp/
  virtctl scp --recursive --identity-file ~/.ssh/id_ed25519 root@vm/demo/team:/var/log ./logs"""

METAVAR = "[[USER@]TYPE/NAME[/NAMESPACE]:]PATH"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar=METAVAR, help="type: vm or vmi")
    parser.add_argument("target", metavar=METAVAR, help="one of both is in a guest")
    ssh.connection(parser)
    parser.add_argument("-r", "--recursive", action="store_true", help="with all that is in it")
    parser.add_argument("--preserve", action="store_true", help="times and modes, too")


def run(args: argparse.Namespace) -> int:
    return ssh.replaced_by("scp", lambda: command_line(args))


def command_line(args: argparse.Namespace) -> list[str]:
    """What is run. Raises Failure."""
    places = [_split(args.source), _split(args.target)]
    guests = [guest for guest, _ in places if guest]
    if len(guests) != 1:
        raise Failure("one of both is in a guest, as TYPE/NAME:PATH, and the other is here")
    user, host, words = ssh.connected(args, guests[0])
    switches = [*(["-r"] if args.recursive else []), *(["-p"] if args.preserve else [])]
    names = [f"{user}@{host}:{path}" if guest else path for guest, path in places]
    return ["scp", *words, *switches, "--", *names]


def _split(text: str) -> tuple[str, str]:
    """Guest ("" where it is a file of this machine) and path."""
    guest, colon, path = text.partition(":")
    kind = guest.rpartition("@")[2].partition("/")[0]
    if colon and "/" in guest and kind.lower() in RESOURCES:
        return guest, path
    return "", text
