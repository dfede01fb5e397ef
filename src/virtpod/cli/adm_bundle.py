"""virtctl adm bundle: what somebody needs who shall find out what happened, in one file."""

from __future__ import annotations

import argparse
import sys

from virtpod.cli import session as sessions
from virtpod.cli.session import Failure, Session

EXAMPLES = """examples:
  virtctl adm bundle -n team --output team.tar.gz
  virtctl adm bundle -n team --vm demo --output demo.tar.gz
what is in it: objects, events, decisions, logs, domain XML, diagnoses; no secrets"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vm", default="", metavar="NAME", help="of this VM (or VMI) only")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.tar.gz")


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        from virtpod.cli import _bundle

        bundle = _bundle.Bundle(session.client, session.namespace, args.vm)
        await bundle.collect()
        try:
            count = bundle.write(args.output)
        except OSError as error:
            raise Failure(f"cannot write {args.output}: {error.strerror}") from error
        print(f"{args.output}: {count} files")
        for note in bundle.notes:
            print(f"not in it: {note}", file=sys.stderr)
        return 0

    return sessions.run(args, act)
