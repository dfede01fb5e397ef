"""virtctl memory-dump get|download|remove VM"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from virtpod.cli import _parameters as parameters
from virtpod.cli.addvolume import change
from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session

EXAMPLES = """\
examples:
  virtctl memory-dump get my-vm --claim-name=my-dump --create-claim
  virtctl memory-dump get my-vm
  virtctl memory-dump get my-vm --output memory.dump.gz
  virtctl memory-dump download my-vm --output memory.dump.gz --port-forward
  virtctl memory-dump remove my-vm
"""
FILE_SYSTEM = 0.055
"""The share of a claim that its file system is taken to need."""


DUMPED_WITHIN = 300.0
PERIOD = 1.0
"""Seconds: for a dump that is downloaded, and between two looks at it."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("get", "download", "remove"),
        help="get: dump the guest's memory into a claim; "
        "download: the dump that is there, by a VirtualMachineExport; "
        "remove: take the claim from the VM, with the dumps in it",
    )
    parser.add_argument("name", metavar="VM")
    parser.add_argument("--claim-name", default="", help="the claim; by default that of last time")
    parser.add_argument("--create-claim", action="store_true", help="make the claim first")
    parser.add_argument(
        "--access-mode", default="", choices=("", "ReadWriteOnce", "ReadWriteMany"), help="its own"
    )
    parser.add_argument("--storage-class", default="", help="its storage class")
    parser.add_argument("--output", default="", metavar="FILE", help="download the dump to it")
    parser.add_argument(
        "--format", default="", choices=("", "gzip", "raw"), help="raw is unpacked; gzip by default"
    )
    parser.add_argument(
        "--port-forward", action="store_true", help="through the API server, without Ingress"
    )
    parser.add_argument("--local-port", type=int, default=0, metavar="PORT", help="any by default")


def run(args: argparse.Namespace) -> int:
    try:
        _check(args)
    except Failure as failure:
        return parameters.told(failure)
    act = {"get": _get, "download": _download, "remove": _remove}[args.action]
    return run_session(args, lambda session: act(session, args))


def _check(args: argparse.Namespace) -> None:
    """Raises Failure."""
    if args.action != "get" and (args.claim_name or args.create_claim):
        raise Failure(f"{args.action} takes no claim: it is the one that the VM has")
    if args.create_claim and not args.claim_name:
        raise Failure("--create-claim needs --claim-name")
    if (args.access_mode or args.storage_class) and not args.create_claim:
        raise Failure("--access-mode and --storage-class are for a claim that --create-claim makes")
    if args.action == "download" and not args.output:
        raise Failure("download wants --output FILE; - is standard output")
    if not args.output and (args.format or args.port_forward or args.local_port):
        raise Failure("--format, --port-forward and --local-port go with --output")


async def _get(session: Session, args: argparse.Namespace) -> int:
    if args.create_claim:
        await _create_claim(session, args)
    body = {"claimName": args.claim_name} if args.claim_name else {}
    talk = sys.stderr if args.output == "-" else sys.stdout
    await change(session, args.name, "memorydump", body)
    print(f"Successfully submitted memory dump request of VM {args.name}", file=talk)
    return await _download(session, args) if args.output else 0


async def _download(session: Session, args: argparse.Namespace) -> int:
    """Once it is complete; the claim is exported for as long as that takes."""
    from virtpod.cli import __main__ as cli
    from virtpod.cli import vmexport

    claim = await _dumped(session, args.name)
    words = ["download", f"export-{claim}", "--pvc", claim, "--output", args.output]
    words += [f"--local-port={args.local_port}"] if args.port_forward else []
    words += ["--port-forward"] if args.port_forward else []
    words += ["--format", args.format] if args.format else []
    return await vmexport.download(session, cli.parser_for(["vmexport"]).parse_args(words))


async def _dumped(session: Session, name: str) -> str:
    """The claim with a VM's dump. Raises Failure."""
    from virtpod.kube.resources import VMS

    phase = ""
    try:
        async with asyncio.timeout(DUMPED_WITHIN):
            while True:
                vm = await session.client.get(VMS, (session.namespace, name))
                dump = (vm.get("status") or {}).get("memoryDumpRequest")
                if not dump:
                    raise Failure(f"VM {name} has no memory dump: virtctl memory-dump get {name}")
                phase = dump.get("phase") or ""
                if phase == "Completed":
                    return str(dump["claimName"])
                if phase == "Failed":
                    raise Failure(f"memory dump of VM {name} failed: {dump.get('message') or ''}")
                await asyncio.sleep(PERIOD)
    except TimeoutError:
        raise Failure(
            f"memory dump of VM {name} is {phase} after {DUMPED_WITHIN:g} s; later: "
            f"virtctl memory-dump download {name} --output FILE"
        ) from None


async def _remove(session: Session, args: argparse.Namespace) -> int:
    await change(session, args.name, "removememorydump", {})
    print(f"Successfully submitted remove memory dump association of VM {args.name}")
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
