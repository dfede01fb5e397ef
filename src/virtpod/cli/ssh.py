"""virtctl ssh [USER@]TYPE/NAME[/NAMESPACE]: the local ssh, through a tunnel of port-forward."""

from __future__ import annotations

import argparse
import getpass
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from virtpod.cli.__main__ import CLIENT
from virtpod.cli.port_forward import Target, parse_target
from virtpod.cli.session import VMS, Failure

EXAMPLES = """examples:
  virtctl ssh user@vmi/demo
  virtctl ssh --identity-file ~/.ssh/id_ed25519 --command 'uname -a' root@vm/demo"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="[USER@]TYPE/NAME[/NAMESPACE]", help="type: vm or vmi")
    connection(parser)
    parser.add_argument("-c", "--command", default="", help="to run instead of a shell")


def connection(parser: argparse.ArgumentParser) -> None:
    """The flags that ssh and scp share."""
    parser.add_argument("-l", "--username", default="", help="in the guest; your own by default")
    parser.add_argument("-i", "--identity-file", default="", metavar="FILE")
    parser.add_argument("-p", "--port", type=int, default=22, help="of the guest's sshd")
    parser.add_argument(
        "--known-hosts",
        default=str(Path.home() / ".ssh" / "kubevirt_known_hosts"),
        metavar="FILE",
    )
    parser.add_argument(
        "-t",
        "--local-ssh-opts",
        action="append",
        default=[],
        metavar="OPTION",
        help="for the local ssh; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    return replaced_by("ssh", lambda: command_line(args))


def replaced_by(name: str, words: Callable[[], list[str]]) -> int:
    """Goes on as that program; the exit code where that cannot be. `words` may raise Failure."""
    try:
        given = words()
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    program = shutil.which(name)
    if program is None:
        print(f"error: there is no {name} on PATH", file=sys.stderr)
        return 1
    os.execv(program, given)


def command_line(args: argparse.Namespace) -> list[str]:
    """What is run. Raises Failure."""
    user, host, words = connected(args, args.target)
    words = ["ssh", *words, "-l", user, host]
    if args.command:
        words += ["--", args.command]
    return words


def connected(args: argparse.Namespace, text: str) -> tuple[str, str, list[str]]:
    """User, host, and the words by which OpenSSH's programs come to it. Raises Failure."""
    user, at, rest = text.rpartition("@")
    target = parse_target(rest)
    name = args.username or (user if at else "") or getpass.getuser()
    words = ["-o", f"ProxyCommand={shlex.join(_tunnel(args, target))}"]
    words += ["-o", f"UserKnownHostsFile={args.known_hosts}"]
    if args.identity_file:
        words += ["-i", args.identity_file]
    words += args.local_ssh_opts
    kind = "vm" if target.resource == VMS else "vmi"
    # The host name exists in known_hosts only; the proxy knows where to go.
    host = ".".join((kind, target.name, target.namespace or args.namespace or "default"))
    return name, host, words


def _tunnel(args: argparse.Namespace, target: Target) -> list[str]:
    words = [sys.executable, "-m", "virtpod.cli"]
    given = {flag: getattr(args, flag) for flag in ("kubeconfig", "context", "namespace")}
    given |= {flag: getattr(args, f"client_{flag.replace('-', '_')}") for flag in CLIENT}
    for flag, value in given.items():
        if value:
            words += [f"--{flag}", value]
    if args.insecure_skip_tls_verify:
        words.append("--insecure-skip-tls-verify")
    parts = (target.resource, target.name, target.namespace)
    return [*words, "port-forward", "--stdio", "/".join(filter(None, parts)), str(args.port)]
