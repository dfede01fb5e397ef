"""virtctl, also as `kubectl virt` where it is on PATH as kubectl-virt.

The command is found before anything of it is imported: `virtctl --help` loads this file only.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import NoReturn

COMMANDS = {
    "addvolume": "Give a virtual machine a volume, also while it runs.",
    "adm": "Administrate an installation: support bundles, profiles, log levels.",
    "completion": "Print what makes a shell complete virtctl's words.",
    "configuration": "Show what the installation lets machines have.",
    "console": "Connect to the serial console of a virtual machine instance.",
    "create": "Write manifests: of virtual machines, instance types, preferences, clones.",
    "credentials": "Change keys and passwords of users in virtual machines.",
    "evacuate-cancel": "Let a guest stay that was asked to leave its node.",
    "expand": "Show a virtual machine with its instance type and preference written out.",
    "explain": "Show what a manifest becomes: admitted spec, pod, steps, domain XML. Offline.",
    "expose": "Make a Service that leads to virtual machines.",
    "fslist": "Show the file systems that are mounted in a guest, as its agent tells.",
    "guestosinfo": "Show what the agent of a guest tells of its operating system.",
    "guestfs": "Open a shell with libguestfs' tools on a claim that nobody uses.",
    "image-upload": "Upload an image of this machine into a volume.",
    "install": "Install Virtpod on a cluster, or print its manifests.",
    "memory-dump": "Write the memory of a virtual machine's guest into a claim.",
    "migrate": "Move a virtual machine to another node while it runs.",
    "migrate-cancel": "Cancel the migration of a virtual machine.",
    "objectgraph": "Show the objects that a virtual machine stands on.",
    "pause": "Pause a virtual machine or a virtual machine instance.",
    "port-forward": "Forward local ports to a virtual machine or a virtual machine instance.",
    "removevolume": "Take a volume from a virtual machine, also while it runs.",
    "replay": "Decide again, offline, on what a controller saw.",
    "reset": "Reset a virtual machine instance, as its reset button would.",
    "restart": "Restart a virtual machine.",
    "scp": "Copy files to or from a virtual machine or a virtual machine instance.",
    "soft-reboot": "Ask the guest of a virtual machine instance to reboot.",
    "ssh": "Open an SSH connection to a virtual machine or a virtual machine instance.",
    "start": "Start a virtual machine.",
    "stop": "Stop a virtual machine.",
    "template": "Make virtual machines from templates, and templates from what there is.",
    "uninstall": "Take Virtpod away from a cluster, virtual machines included.",
    "unpause": "Unpause a virtual machine or a virtual machine instance.",
    "usbredir": "Give a USB device of this machine to a guest.",
    "userlist": "Show who is logged in to a guest, as its agent tells.",
    "version": "Print the version of client and server.",
    "vmexport": "Download the volumes or the manifest of a virtual machine.",
    "vnc": "Open a VNC connection to a virtual machine instance.",
    "why": "Tell why a virtual machine does not run, and what to do about it.",
}

CLIENT = {
    "server": ("URL", "instead of the kubeconfig's"),
    "token": ("TOKEN", "to authenticate with"),
    "certificate-authority": ("FILE", "that signs the server's certificate"),
    "client-certificate": ("FILE", "to authenticate with"),
    "client-key": ("FILE", "of that certificate"),
    "tls-server-name": ("NAME", "that the server's certificate has"),
    "as": ("USER", "to be taken for"),
    "as-uid": ("UID", "of that user"),
    "as-group": ("GROUP", "one of that user's"),
}
"""Flags of kubectl that say where and as whom."""
_WITH_VALUE = (
    *("--kubeconfig", "--context", "--namespace", "-n", "-v", "--v"),
    *(f"--{flag}" for flag in CLIENT),
)


class Parser(argparse.ArgumentParser):
    """Ends with 1 on a wrong command line, as every other error does."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"error: {message}\n")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The entry point."""
    given = list(sys.argv[1:] if argv is None else argv)
    sys.exit(run(given, prog=_prog(sys.argv[0])))


def complete() -> NoReturn:
    """The entry point that kubectl asks when `kubectl virt` is to be completed."""
    sys.exit(run(["__complete", *sys.argv[1:]]))


def run(given: list[str], prog: str = "virtctl") -> int:
    """The exit code."""
    if given[:1] == ["__complete"]:
        from virtpod.cli import _complete

        return _complete.run(given[1:])
    command, rest = _command(given)
    if command is None or command == "help":
        return _help(prog, rest)
    if command not in COMMANDS:
        print(f'error: unknown command "{command}" for "{prog}"', file=sys.stderr)
        print(f"Run '{prog} --help' for usage.", file=sys.stderr)
        return 1
    module = _module(command)
    path = [command]
    members: dict[str, str] = getattr(module, "COMMANDS", {})
    if members:
        member, rest = _command(rest)
        if member not in members:
            return _group_help(f"{prog} {command}", command, members, member, rest)
        path.append(member)
        module = _module(*path)
    parser = parser_of(module, path, prog)
    args = parser.parse_intermixed_args(_switches(parser, rest))
    args.prog = prog
    code: int = module.run(args)
    return code


def commands() -> Iterator[tuple[str, ...]]:
    """Every command's words, such as ("create", "vm"): for pages and shells' completions."""
    for name in COMMANDS:
        members = getattr(_module(name), "COMMANDS", None)
        yield from ((name, member) for member in members) if members else [(name,)]


def parser_for(path: Sequence[str], prog: str = "virtctl") -> Parser:
    """Of a command that `commands` names."""
    return parser_of(_module(*path), path, prog)


def parser_of(module: ModuleType, path: Sequence[str], prog: str) -> Parser:
    about = COMMANDS[path[0]] if len(path) == 1 else _module(path[0]).COMMANDS[path[1]]
    parser = Parser(
        prog=" ".join((prog, *path)),
        description=about,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=getattr(module, "EXAMPLES", None),
    )
    module.arguments(parser)
    _add_global(parser)
    return parser


def _module(*path: str) -> ModuleType:
    return importlib.import_module(f"virtpod.cli.{'_'.join(path).replace('-', '_')}")


def _group_help(
    prog: str, command: str, members: dict[str, str], asked: str | None, rest: list[str]
) -> int:
    """Of a command with commands; an error where help was not what was asked for."""
    if asked is not None:
        print(f'error: unknown command "{asked}" for "{prog}"', file=sys.stderr)
        print(f"Run '{prog} --help' for usage.", file=sys.stderr)
        return 1
    wrong = bool(rest) and not {"-h", "--help"} & set(rest)
    if wrong or not rest:
        print(f"error: {prog} wants a command", file=sys.stderr)
    out = sys.stdout if rest and not wrong else sys.stderr
    width = max(map(len, members))
    print(f"usage: {prog} COMMAND [flags]\n\n{COMMANDS[command]}\n\ncommands:", file=out)
    for name, text in members.items():
        print(f"  {name:{width}}  {text}", file=out)
    print(f"\nUse '{prog} COMMAND --help' for a command's flags.", file=out)
    return 0 if out is sys.stdout else 1


def _prog(path: str) -> str:
    return "kubectl virt" if os.path.basename(path).startswith("kubectl") else "virtctl"


def _command(given: list[str]) -> tuple[str | None, list[str]]:
    """The command, and the arguments without it."""
    skip = False
    for index, word in enumerate(given):
        if skip:
            skip = False
        elif word in _WITH_VALUE:
            skip = True
        elif not word.startswith("-"):
            return word, given[:index] + given[index + 1 :]
    return None, given


def _switches(parser: argparse.ArgumentParser, words: list[str]) -> list[str]:
    """`--paused=true` and `--paused=false`, which kubectl's users write, as argparse wants it."""
    switches = {
        option
        for action in parser._actions
        if isinstance(action, argparse._StoreTrueAction | argparse.BooleanOptionalAction)
        for option in action.option_strings
    }
    kept = []
    for word in words:
        option, equals, value = word.partition("=")
        if option not in switches or not equals:
            kept.append(word)
        elif value == "true":
            kept.append(option)
        elif value == "false":
            opposite = option.replace("--", "--no-", 1)
            kept += [opposite] if opposite in switches else []
        else:
            parser.error(f"{option} is true or false, not {value}")
    return kept


def _add_global(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("global options")
    group.add_argument("--kubeconfig", default="", metavar="FILE")
    group.add_argument("--context", default="", metavar="NAME", help="of the kubeconfig")
    group.add_argument("-n", "--namespace", default="", metavar="NAME")
    for flag, (metavar, text) in CLIENT.items():
        name = f"client_{flag.replace('-', '_')}"
        group.add_argument(f"--{flag}", dest=name, default="", metavar=metavar, help=text)
    group.add_argument(
        "--insecure-skip-tls-verify", action="store_true", help="believe any certificate"
    )
    group.add_argument("-v", "--v", type=int, default=2, metavar="LEVEL", help="log level")


def _help(prog: str, rest: list[str]) -> int:
    unknown = [word for word in rest if word not in ("-h", "--help")]
    if unknown:
        if unknown[0] in COMMANDS:
            return run([unknown[0], "--help"], prog)
        print(f"error: unknown flag: {unknown[0]}", file=sys.stderr)
        return 1
    width = max(map(len, COMMANDS))
    print(f"{prog} controls virtual machines on Kubernetes.\n")
    print(f"usage: {prog} COMMAND [flags]\n\ncommands:")
    for name, text in COMMANDS.items():
        print(f"  {name:{width}}  {text}")
    print(f"\nUse '{prog} COMMAND --help' for a command's flags. All commands take --kubeconfig,")
    print("--context, -n/--namespace, --server, --token, --as and the like as kubectl does.")
    return 0


if __name__ == "__main__":
    main()
