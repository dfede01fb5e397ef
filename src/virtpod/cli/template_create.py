"""virtctl template create --vm-name VM"""

from __future__ import annotations

import argparse

from virtpod.cli import _template as template
from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session

EXAMPLES = """examples:
  virtctl template create --vm-name my-vm --name my-template && kubectl get vmtr -w"""

REQUESTS = "virtualmachinetemplaterequests"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vm-name", required=True, metavar="VM", help="that it is made of")
    parser.add_argument("--vm-namespace", default="", metavar="NAME", help="of the VM")
    parser.add_argument("--name", default="", help="of the template; made up by default")


def run(args: argparse.Namespace) -> int:
    from virtpod.kube.errors import ApiError

    async def act(session: Session) -> int:
        vm = {"namespace": args.vm_namespace or session.namespace, "name": args.vm_name}
        spec = {"virtualMachineRef": vm, **({"templateName": args.name} if args.name else {})}
        body = {
            "apiVersion": template.API_VERSION,
            "kind": "VirtualMachineTemplateRequest",
            "metadata": {"generateName": f"{args.vm_name}-", "namespace": session.namespace},
            "spec": spec,
        }
        try:
            made = await session.client.create(template.resource(plural=REQUESTS), body)
        except ApiError as error:
            raise Failure(
                f"error creating VirtualMachineTemplateRequest: {template.said(error)}"
            ) from error
        name = made["metadata"]["name"]
        print(f"virtualmachinetemplaterequest.{template.GROUP}/{name} created")
        return 0

    return run_session(args, act)
