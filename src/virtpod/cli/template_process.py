"""virtctl template process NAME | --file FILE"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from virtpod.cli import _parameters as parameters
from virtpod.cli import _template as template
from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session

EXAMPLES = """examples:
  virtctl template process my-template -p NAME=web -p CPUS=2 | kubectl apply -f -
  virtctl template process my-template -p NAME=web --create
  virtctl template process --file my-template.yaml --print-params"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("template", nargs="?", default="", metavar="NAME", help="in the cluster")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--name", default="", help="the same")
    given.add_argument(
        "-f", "--file", default="", metavar="FILE", help="with a template; -: standard input"
    )
    parser.add_argument("-o", "--output", default="yaml", choices=("yaml", "json"))
    values = parser.add_mutually_exclusive_group()
    values.add_argument(
        "-p", "--param", action="append", default=[], metavar="NAME=VALUE", help="repeatable"
    )
    values.add_argument("--params-file", default="", metavar="FILE", help="with values by name")
    parser.add_argument("--local", action="store_true", help="fetch it, and process it here")
    parser.add_argument("--create", action="store_true", help="have the cluster make the VM")
    parser.add_argument("--print-params", action="store_true", help="print the parameters only")


def run(args: argparse.Namespace) -> int:
    try:
        args.name = named(args)
        given = _given(args)
        if args.create and (args.file or args.local or args.print_params):
            raise Failure("--create goes with a template in the cluster, and --name only")
        if args.file:
            return _shown(args, template.read(args.file), given)
    except Failure as failure:
        return parameters.told(failure)

    async def act(session: Session) -> int:
        if args.local or args.print_params:
            found = await template.stored(session, args.name, template.resource())
            return _shown(args, found, given)
        answer = await _asked(session, args, given)
        vm = answer.get("virtualMachine") or {}
        if args.create:
            print(f"virtualmachine.kubevirt.io/{vm['metadata']['name']} created")
        else:
            _print(args, vm, str(answer.get("message") or ""))
        return 0

    return run_session(args, act)


def named(args: argparse.Namespace) -> str:
    """The template that is meant, where no file is. Raises Failure."""
    if args.template and (args.name or args.file):
        raise Failure("provide one of NAME, --name and --file")
    name: str = args.template or args.name
    if not name and not args.file:
        raise Failure("name or file must be provided")
    return name


def _given(args: argparse.Namespace) -> dict[str, str]:
    """Raises Failure."""
    if args.params_file:
        return {str(key): str(value) for key, value in template.read(args.params_file).items()}
    found = {}
    for text in args.param:  # a value may have commas
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Failure(f"--param is NAME=VALUE, not {text!r}")
        found[name] = value
    return found


def _shown(args: argparse.Namespace, found: dict[str, Any], given: dict[str, str]) -> int:
    """Raises Failure."""
    if args.print_params:
        template.written((found.get("spec") or {}).get("parameters") or [], args.output)
        return 0
    _print(args, *template.processed(found, given))
    return 0


def _print(args: argparse.Namespace, vm: dict[str, Any], message: str) -> None:
    if message:
        print(message, file=sys.stderr)
    template.written(vm, args.output)


async def _asked(
    session: Session, args: argparse.Namespace, given: dict[str, str]
) -> dict[str, Any]:
    """Raises Failure."""
    from virtpod.kube.errors import ApiError

    verb = "create" if args.create else "process"
    group = f"subresources.{template.GROUP}"
    path = template.resource(group).path(session.namespace, args.name, verb)
    body = {"apiVersion": f"{group}/{template.VERSION}", "kind": "ProcessOptions"}
    try:
        reply = await session.client.request(
            "POST",
            path,
            body=json.dumps({**body, "parameters": given}).encode(),
            headers={"Content-Type": "application/json"},
        )
    except ApiError as error:
        where = f"{session.namespace}/{args.name}"
        raise Failure(f"error processing template {where}: {template.said(error)}") from error
    answer: dict[str, Any] = reply.json()
    return answer
