"""virtctl __complete WORD...: what the last word may become. See completion.py."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from virtpod.cli import __main__ as cli

if TYPE_CHECKING:
    from virtpod.kube.resources import Resource

WITHIN = 3.0
"""Seconds that a cluster has to answer: whoever has pressed Tab waits."""
FILES, NO_FILES = ":0", ":4"
KIND = {"vm": "a virtual machine", "vmi": "a virtual machine instance"}
HIDDEN = ("-h", "-v", "--v")

Found = Iterable[tuple[str, str]]


class Files(Exception):
    """Names of files are what fits."""


def run(words: list[str]) -> int:
    """Prints the candidates; whatever is wrong is nobody's business who has pressed Tab."""
    words = joined(words) or [""]
    last, directive = words[-1], NO_FILES
    try:
        for word, text in candidates(words):
            if word.startswith(last):
                print(f"{word}\t{text}" if text else word)
    except Files:
        directive = FILES
    print(directive)
    return 0


def joined(words: list[str]) -> list[str]:
    """`--flag`, `=`, `value` are three words for bash, and one for us."""
    found: list[str] = []
    for word in words:
        if found and (word == "=" or (found[-1].endswith("=") and found[-1].startswith("--"))):
            found[-1] += word
        else:
            found.append(word)
    return found


def candidates(words: list[str]) -> Found:
    """For the last of these words, in whatever it begins with. Raises Files."""
    *before, last = words
    command, rest = cli._command(before)
    if command is None:
        if before and before[-1] in ("-n", "--namespace"):
            return _namespaces(before)
        return cli.COMMANDS.items()
    if command not in cli.COMMANDS:
        return ()
    path = [command]
    members: dict[str, str] = getattr(cli._module(command), "COMMANDS", {})
    if members:
        member, rest = cli._command(rest)
        if member is None:
            return members.items()
        if member not in members:
            return ()
        path.append(member)
    return _of_command(cli.parser_for(path), rest, last)


def _of_command(parser: argparse.ArgumentParser, before: list[str], last: str) -> Found:
    options = {name: each for each in parser._actions for name in each.option_strings}
    flag, equals, _ = last.partition("=")
    if equals and flag in options:
        values = _values(options[flag], before)
        return [(f"{flag}={word}", text) for word, text in values]
    if before and before[-1] in options and _takes_value(options[before[-1]]):
        return _values(options[before[-1]], before)
    if last.startswith("-"):
        return [
            (name, each.help or "")
            for name, each in options.items()
            if each.help != argparse.SUPPRESS and name not in HIDDEN
        ]
    given = list(_positionals(before, options))
    places = [each for each in parser._actions if not each.option_strings]
    if not places or (len(given) >= len(places) and places[-1].nargs != "+"):
        return ()
    return _values(places[min(len(given), len(places) - 1)], before, given)


def _positionals(before: list[str], options: dict[str, argparse.Action]) -> Iterator[str]:
    value = False
    for word in before:
        if value:
            value = False
        elif word.startswith("-"):
            value = word in options and _takes_value(options[word])
        else:
            yield word


def _takes_value(action: argparse.Action) -> bool:
    return action.nargs != 0 and action.nargs != "?"


def _values(action: argparse.Action, before: list[str], given: Iterable[str] = ()) -> Found:
    """Raises Files."""
    given = list(given)
    meant = str(action.metavar or "").upper()
    if action.choices:
        return [(str(each), "") for each in action.choices if each != ""]
    if action.dest in ("namespace", "kubeconfig", "context"):
        if action.dest == "kubeconfig":
            raise Files
        return _namespaces(before) if action.dest == "namespace" else ()
    if meant.startswith("FILE") or action.dest.endswith(("file", "_path")):
        raise Files
    if action.dest == "vm":
        return _machines(before, "vm")
    if action.option_strings:
        return ()
    if action.dest == "kind":
        return KIND.items()
    if meant in ("VM", "VMI"):
        return _machines(before, meant.lower())
    if meant.endswith(" VMI"):
        return _machines(before, "vmi")
    if action.dest == "name" and given:
        return _machines(before, given[0])
    if "TYPE/NAME" in meant:
        return [(f"{kind}/{name}", text) for kind in KIND for name, text in _machines(before, kind)]
    return ()


def _machines(before: list[str], kind: str) -> Found:
    from virtpod.kube.resources import VMIS, VMS

    if kind not in KIND:
        return ()
    return [(name, KIND[kind]) for name in _names(before, VMS if kind == "vm" else VMIS)]


def _namespaces(before: list[str]) -> Found:
    from virtpod.kube.resources import NAMESPACES

    return [(name, "") for name in _names(before, NAMESPACES)]


def _names(before: list[str], resource: Resource) -> list[str]:
    """Of a cluster that answers in time; none where there is none."""
    from virtpod.kube.client import Client
    from virtpod.kube.config import Config
    from virtpod.kube.errors import Problem

    async def listed() -> list[str]:
        config = Config.load(
            context=_given(before, "--context"), kubeconfig=_given(before, "--kubeconfig")
        )
        namespace = _given(before, "--namespace", "-n") or config.namespace
        async with asyncio.timeout(WITHIN), Client(config, component="virtctl") as client:
            found = await client.list(resource, namespace=namespace if resource.namespaced else "")
            return [each["metadata"]["name"] for each in found.items]

    try:
        return asyncio.run(listed())
    except (OSError, KeyError, ValueError, TimeoutError, Problem):
        return []


def _given(before: list[str], *flags: str) -> str:
    for index, word in enumerate(before):
        flag, equals, value = word.partition("=")
        if flag in flags and equals:
            return value
        if word in flags and index + 1 < len(before):
            return before[index + 1]
    return ""
