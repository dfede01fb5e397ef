"""virtctl uninstall: all that virtctl install, Helm or kubectl apply brought."""

from __future__ import annotations

import argparse
import sys

from virtpod.cli import session as sessions
from virtpod.cli.session import Failure, Session

EXAMPLES = """examples:
  virtctl uninstall
  virtctl uninstall -n machines
Virtual machines go too, unless the KubeVirt object's uninstallStrategy is
BlockUninstallIfWorkloadsExist; so does the namespace, with all that is in it."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS")


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        from virtpod.cli import _installation
        from virtpod.render.install import Options

        options = Options("", "", namespace=args.namespace or "kubevirt")
        other = await _installation.elsewhere(session.client, options.namespace)
        if other:
            raise Failure(f"Virtpod is installed in namespace {other}: name it by -n {other}")
        await _installation.remove(session.client, options, _tell, args.timeout)
        print(f"Virtpod is gone, and namespace {options.namespace} with it")
        return 0

    return sessions.run(args, act)


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
