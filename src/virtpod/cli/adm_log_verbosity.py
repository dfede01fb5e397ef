"""virtctl adm log-verbosity: how much each component logs, in the KubeVirt object."""

from __future__ import annotations

import argparse
from typing import Any

from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session

COMPONENTS = {
    "virt-api": "virtAPI",
    "virt-controller": "virtController",
    "virt-handler": "virtHandler",
    "virt-launcher": "virtLauncher",
    "virt-operator": "virtOperator",
}
USUAL, MOST = 2, 9
SHOW = "show"

EXAMPLES = """examples:
  virtctl adm log-verbosity --all
  virtctl adm log-verbosity --virt-api=4 --virt-handler=4
  virtctl adm log-verbosity --reset virt-api
Levels: 0 warnings only, 2 what is decided and done (the usual), 4 and more each request too. A
flag without a number shows."""


def arguments(parser: argparse.ArgumentParser) -> None:
    for name in (*COMPONENTS, "all"):
        parser.add_argument(
            f"--{name}", nargs="?", const=SHOW, default=None, metavar="LEVEL", help="0 to 9"
        )
    parser.add_argument(
        "--reset",
        action="append",
        default=[],
        choices=(*COMPONENTS, "all"),
        help=f"to the usual level ({USUAL}); may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        levels, shown = asked(args)
        home, verbosity = await _installed(session)
        if levels:
            await _set(session, home, levels)
            verbosity = {**verbosity, **levels}
        for name in shown:
            print(f"{name} = {_level(verbosity, name)}")
        return 0

    return run_session(args, act)


def asked(args: argparse.Namespace) -> tuple[dict[str, int | None], list[str]]:
    """Levels to set, by the API's names (None: the usual again); components to show.

    Raises Failure.
    """
    given = {name: getattr(args, name.replace("-", "_")) for name in (*COMPONENTS, "all")}
    shown = [name for name, value in given.items() if value == SHOW]
    wanted: dict[str, int | None] = dict.fromkeys(args.reset)
    wanted |= {
        name: _number(name, text) for name, text in given.items() if text not in (None, SHOW)
    }
    if shown and wanted:
        raise Failure("show levels, or change them: not both at once")
    if not shown and not wanted:
        raise Failure("name a component, such as --virt-api, or --all")
    levels: dict[str, int | None] = {}
    for name in sorted(wanted, key=lambda name: name != "all"):  # one's own wins over all
        for each in COMPONENTS if name == "all" else (name,):
            levels[COMPONENTS[each]] = wanted[name]
    return levels, list(COMPONENTS) if "all" in shown else shown


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= MOST):
        raise Failure(f"--{name} is a level from 0 to {MOST}, not {text!r}")
    return int(text)


def _level(verbosity: dict[str, Any], name: str) -> int:
    level = verbosity.get(COMPONENTS[name])
    return USUAL if level is None else int(level)


async def _installed(session: Session) -> tuple[tuple[str, str], dict[str, Any]]:
    """Where the KubeVirt object is, and what it says of logs. Raises Failure."""
    from virtpod.kube.resources import KUBEVIRTS

    found = (await session.client.list(KUBEVIRTS)).items
    if not found:
        raise Failure("there is no KubeVirt object: Virtpod is not installed here")
    metadata, spec = found[0]["metadata"], found[0].get("spec") or {}
    developer = (spec.get("configuration") or {}).get("developerConfiguration") or {}
    return (metadata["namespace"], metadata["name"]), developer.get("logVerbosity") or {}


async def _set(session: Session, home: tuple[str, str], levels: dict[str, int | None]) -> None:
    from virtpod.kube.resources import KUBEVIRTS

    configuration = {"developerConfiguration": {"logVerbosity": levels}}
    body = {"spec": {"configuration": configuration}}
    await session.client.patch(KUBEVIRTS, home, body, "merge")
