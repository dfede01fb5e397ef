"""virtctl memory-dump get|remove VM"""

from __future__ import annotations

import argparse
from typing import Any

from virtpod.cli.addvolume import change
from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session

EXAMPLES = """\
examples:
  virtctl memory-dump get my-vm --claim-name=my-dump --create-claim
  virtctl memory-dump get my-vm
  virtctl memory-dump remove my-vm
"""
FILE_SYSTEM = 0.055
"""The share of a claim that its file system is taken to need."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("get", "remove"),
        help="get: dump the guest's memory into a claim; "
        "remove: take the claim from the VM, with the dumps in it",
    )
    parser.add_argument("name", metavar="VM")
    parser.add_argument("--claim-name", default="", help="the claim; by default that of last time")
    parser.add_argument("--create-claim", action="store_true", help="make the claim first")
    parser.add_argument(
        "--access-mode", default="", choices=("", "ReadWriteOnce", "ReadWriteMany"), help="its own"
    )
    parser.add_argument("--storage-class", default="", help="its storage class")


def run(args: argparse.Namespace) -> int:
    if args.action == "remove":
        if args.claim_name or args.create_claim:
            raise Failure("remove takes no claim: it is the one that the VM has")
        return run_session(args, lambda session: _remove(session, args.name))
    if args.create_claim and not args.claim_name:
        raise Failure("--create-claim needs --claim-name")
    if (args.access_mode or args.storage_class) and not args.create_claim:
        raise Failure("--access-mode and --storage-class are for a claim that --create-claim makes")

    async def act(session: Session) -> int:
        if args.create_claim:
            await _create_claim(session, args)
        body = {"claimName": args.claim_name} if args.claim_name else {}
        await change(session, args.name, "memorydump", body)
        print(f"Successfully submitted memory dump request of VM {args.name}")
        return 0

    return run_session(args, act)


async def _remove(session: Session, name: str) -> int:
    await change(session, name, "removememorydump", {})
    print(f"Successfully submitted remove memory dump association of VM {name}")
    return 0


async def _create_claim(session: Session, args: argparse.Namespace) -> None:
    """As large as the guest's memory and what comes with it."""
    import msgspec

    from virtpod.api.vmi import VirtualMachineInstance
    from virtpod.domain.quantity import binary
    from virtpod.features.machine.memory import guest
    from virtpod.kube.errors import AlreadyExists, ApiError, NotFound
    from virtpod.kube.resources import PVCS, VMIS

    key = (session.namespace, args.name)
    try:
        found = await session.client.get(VMIS, key)
    except NotFound:
        raise Failure(f"VM {args.name} does not run: its memory cannot be dumped") from None
    size = guest(msgspec.convert(found, VirtualMachineInstance)) + 100 * 2**20
    whole = -(-int(size / (1 - FILE_SYSTEM)) // 2**20) * 2**20
    spec: dict[str, Any] = {
        "accessModes": [args.access_mode or "ReadWriteOnce"],
        "resources": {"requests": {"storage": binary(whole)}},
    }
    if args.storage_class:
        spec["storageClassName"] = args.storage_class
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": args.claim_name, "namespace": session.namespace},
        "spec": spec,
    }
    try:
        await session.client.create(PVCS, body)
    except AlreadyExists:
        raise Failure(f"PVC {args.claim_name} is there already: leave --create-claim out") from None
    except ApiError as error:
        raise Failure(f"cannot create PVC {args.claim_name}: {error.message or error}") from error
    print(f"PVC {session.namespace}/{args.claim_name} created")
