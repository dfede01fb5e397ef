"""virtctl template convert NAME | --file FILE"""

from __future__ import annotations

import argparse
from typing import Any

from virtpod.cli import _parameters as parameters
from virtpod.cli import _template as template
from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session
from virtpod.cli.template_process import named

EXAMPLES = """examples:
  virtctl template convert --file openshift-template.yaml | kubectl apply -f -"""

PARAMETER = ("name", "displayName", "description", "value", "generate", "from", "required")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("template", nargs="?", default="", metavar="NAME", help="in the cluster")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--name", default="", help="the same")
    given.add_argument(
        "-f", "--file", default="", metavar="FILE", help="with a template; -: standard input"
    )
    parser.add_argument("-o", "--output", default="yaml", choices=("yaml", "json"))


def run(args: argparse.Namespace) -> int:
    try:
        args.name = named(args)
        if args.file:
            template.written(converted(template.read(args.file)), args.output)
            return 0
    except Failure as failure:
        return parameters.told(failure)

    async def act(session: Session) -> int:
        theirs = template.resource("template.openshift.io", "v1", "templates")
        found = await template.stored(session, args.name, theirs, "OpenShift")
        template.written(converted(found), args.output)
        return 0

    return run_session(args, act)


def converted(theirs: dict[str, Any]) -> dict[str, Any]:
    """Raises Failure where it is not of one machine."""
    objects = theirs.get("objects") or []
    if len(objects) != 1:
        raise Failure(f"template must contain exactly one object, found {len(objects)}")
    given = theirs.get("metadata") or {}
    kept = ("name", "namespace", "labels", "annotations")
    spec: dict[str, Any] = {"virtualMachine": objects[0]}
    if found := theirs.get("parameters"):
        spec["parameters"] = [
            {key: each[key] for key in PARAMETER if each.get(key)} for each in found
        ]
    if theirs.get("message"):
        spec["message"] = theirs["message"]
    return {
        "apiVersion": template.API_VERSION,
        "kind": template.KIND,
        "metadata": {key: given[key] for key in kept if given.get(key)},
        "spec": spec,
    }
