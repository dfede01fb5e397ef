"""virtctl why vm|vmi NAME: the one reason for which it does not run, and what to do about it.

The exit code is 0 when it runs, 1 when it does not.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from virtpod.cli import session as sessions
from virtpod.cli.session import VMIS, Failure, Session

if TYPE_CHECKING:
    from virtpod.controllers.why import Diagnosis

EXAMPLES = """examples:
  virtctl why vm demo
  virtctl why vmi demo -o json
the codes: docs/why.md"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="TYPE", help="vm or vmi")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    try:
        resource = sessions.target(args.kind)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1

    async def act(session: Session) -> int:
        from virtpod.cli import _gather
        from virtpod.controllers.why import diagnose

        seen = await _gather.observed(
            session.client, session.namespace, args.name, instance=resource == VMIS
        )
        diagnosis = diagnose(seen)
        print(_json(diagnosis) if args.output == "json" else text(args.name, diagnosis))
        return 0 if diagnosis.state == "runs" else 1

    return sessions.run(args, act)


def text(name: str, diagnosis: Diagnosis) -> str:
    lines = [f"{name}: {diagnosis.sentence}", ""]
    if diagnosis.remedy:
        lines += [f"What to do: {diagnosis.remedy}", ""]
    if diagnosis.culprit is not None:
        culprit = diagnosis.culprit
        where = f"{culprit.namespace}/{culprit.name}" if culprit.namespace else culprit.name
        lines.append(f"Look at:    {culprit.kind} {where}")
    lines.append(f"Code:       {diagnosis.code}")
    if diagnosis.evidence:
        lines += ["", "Seen:", *(f"  {line}" for line in diagnosis.evidence)]
    return "\n".join(lines)


def _json(diagnosis: Diagnosis) -> str:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(diagnosis)
    culprit = diagnosis.culprit
    fields["culprit"] = culprit and {
        "apiVersion": culprit.api_version,
        "kind": culprit.kind,
        "namespace": culprit.namespace,
        "name": culprit.name,
    }
    return msgspec.json.format(msgspec.json.encode(fields)).decode()
