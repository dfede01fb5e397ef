"""virtctl vmexport create|delete|download NAME: disks and manifests out of the cluster."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from virtpod.cli import _parameters as parameters
from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session

EXAMPLES = """examples:
  virtctl vmexport create my-export --vm my-vm --ttl 1h
  virtctl vmexport download my-export --volume root --output disk.img.gz
  virtctl vmexport download my-export --pvc my-claim --output disk.img --format raw --port-forward
  virtctl vmexport download my-export --vm my-vm --manifest
  virtctl vmexport delete my-export
download makes the export where a source is named, and deletes it afterwards; one that was there
already stays. With --port-forward no Ingress is needed."""

SOURCES = {
    "vm": ("kubevirt.io", "VirtualMachine"),
    "snapshot": ("snapshot.kubevirt.io", "VirtualMachineSnapshot"),
    "pvc": ("", "PersistentVolumeClaim"),
    "vmtemplate": ("template.kubevirt.io", "VirtualMachineTemplate"),
}
READY_WITHIN = "2m"
OF_DOWNLOAD = (
    *("output", "volume", "insecure", "keep_vme", "delete_vme", "port_forward", "local_port"),
    *("format", "service_url", "retry", "manifest", "manifest_output_format", "include_secret"),
)
"""Flags that mean nothing to create and to delete."""
OF_CREATE = ("labels", "annotations", "readiness_timeout", "ttl")
YAML, JSON = "application/yaml", "application/json"
BETWEEN = 2.0
"""Seconds between two tries of a download."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("create", "delete", "download"))
    parser.add_argument("name", metavar="NAME", help="of the VirtualMachineExport")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--vm", default="", metavar="VM", help="export this VM's volumes")
    source.add_argument("--snapshot", default="", metavar="NAME", help="export this snapshot's")
    source.add_argument("--pvc", default="", metavar="CLAIM", help="export this claim")
    source.add_argument("--vmtemplate", default="", metavar="NAME", help="export this template's")
    parser.add_argument(
        "--ttl", default="", metavar="DURATION", help="of the export; 2h by default"
    )
    for flag in ("labels", "annotations"):
        parser.add_argument(
            f"--{flag}",
            action="append",
            default=[],
            metavar="KEY=VALUE[,KEY=VALUE]",
            help="of the export and its pod",
        )
    parser.add_argument(
        "--readiness-timeout", default="", metavar="DURATION", help=f"{READY_WITHIN} by default"
    )
    parser.add_argument("--volume", default="", metavar="NAME", help="where there are several")
    parser.add_argument("--output", default="", metavar="FILE", help="- is standard output")
    parser.add_argument(
        "--format", default="", choices=("", "gzip", "raw"), help="raw is unpacked; gzip by default"
    )
    parser.add_argument("--manifest", action="store_true", help="the VM's manifest, not a volume")
    parser.add_argument(
        "--manifest-output-format", default="", type=str.lower, choices=("", "yaml", "json")
    )
    parser.add_argument(
        "--include-secret", action="store_true", help="with the header that CDI imports by"
    )
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--keep-vme", action="store_true", help="keep the export afterwards")
    kept.add_argument("--delete-vme", action="store_true", help="delete the export afterwards")
    parser.add_argument("--insecure", action="store_true", help="believe any certificate")
    parser.add_argument(
        "--service-url", default="", metavar="HOST:PORT", help="instead of the external links'"
    )
    parser.add_argument(
        "--port-forward", action="store_true", help="through the API server, without Ingress"
    )
    parser.add_argument("--local-port", type=int, default=0, metavar="PORT", help="any by default")
    parser.add_argument("--retry", type=int, default=0, metavar="COUNT", help="tries after errors")


def run(args: argparse.Namespace) -> int:
    try:
        _check(args)
    except Failure as failure:
        return parameters.told(failure)
    act = {"create": _create, "delete": _delete, "download": download}[args.action]
    return run_session(args, lambda session: act(session, args))


def _check(args: argparse.Namespace) -> None:
    """Raises Failure."""
    foreign = {"create": OF_DOWNLOAD, "delete": (*OF_DOWNLOAD, *OF_CREATE), "download": ()}
    for field in foreign[args.action]:
        if getattr(args, field):
            flag = f"--{field.replace('_', '-')}"
            raise Failure(f"the '{flag}' flag is incompatible with '{args.action}'")
    parameters.pairs("labels", args.labels)
    parameters.pairs("annotations", args.annotations)
    for flag in ("ttl", "readiness_timeout"):
        if text := getattr(args, flag):
            parameters.duration(flag.replace("_", "-"), text)
    source = _source(args)
    if args.action == "create" and source is None:
        raise Failure(
            "need to specify export kind when attempting to create a VirtualMachineExport "
            f"[{'|'.join(f'--{flag}' for flag in SOURCES)}]"
        )
    if args.action == "delete" and source is not None:
        raise Failure("should not specify export kind")
    if args.action == "download":
        _check_download(args)


def _check_download(args: argparse.Namespace) -> None:
    if not 0 <= args.local_port <= 65535:
        raise Failure("--local-port is 0 to 65535")
    if args.local_port and not args.port_forward:
        raise Failure("--local-port goes with --port-forward")
    if args.retry < 0:
        raise Failure("--retry is 0 or more")
    if args.manifest:
        for flag in ("volume", "pvc"):
            if getattr(args, flag):
                raise Failure(f"the '--{flag}' flag is incompatible with '--manifest'")
    elif args.include_secret or args.manifest_output_format:
        raise Failure("--include-secret and --manifest-output-format go with --manifest")
    elif not args.output:
        raise Failure(
            "binary output can mess up your terminal: '--output FILE' saves to a file, "
            "'--output -' writes to standard output anyway"
        )


def _source(args: argparse.Namespace) -> dict[str, str] | None:
    for flag, (group, kind) in SOURCES.items():
        if name := getattr(args, flag):
            return {"apiGroup": group, "kind": kind, "name": name}
    return None


async def _create(session: Session, args: argparse.Namespace) -> int:
    from virtpod.kube.errors import AlreadyExists

    try:
        await _made(session, args)
    except AlreadyExists as error:
        where = f"{session.namespace}/{args.name}"
        raise Failure(f"VirtualMachineExport '{where}' already exists") from error
    return 0


async def _made(session: Session, args: argparse.Namespace) -> None:
    """Raises AlreadyExists, ApiError."""
    from virtpod.cli import _export as export

    metadata = {
        field: pairs
        for field in ("labels", "annotations")
        if (pairs := parameters.pairs(field, getattr(args, field)))
    }
    await export.create(session, args.name, _source(args) or {}, args.ttl, **metadata)
    where = f"{session.namespace}/{args.name}"
    print(f"VirtualMachineExport '{where}' created succesfully", file=_talk(args))


async def _delete(session: Session, args: argparse.Namespace) -> int:
    from virtpod.cli import _export as export

    there = await export.delete(session, args.name)
    said = "deleted succesfully" if there else "does not exist"
    print(
        f"VirtualMachineExport '{session.namespace}/{args.name}' {said}",
        file=_talk(args),
    )
    return 0


async def download(session: Session, args: argparse.Namespace) -> int:
    """As `arguments` has it. Raises Failure, ApiError."""
    from virtpod.kube.errors import AlreadyExists

    made = False
    if _source(args) is not None:
        try:
            await _made(session, args)
            made = True
        except AlreadyExists:
            print(f"using VirtualMachineExport {args.name}, which is there", file=_talk(args))
    goes = args.delete_vme or (made and not args.keep_vme and not args.manifest)
    try:
        for left in reversed(range(args.retry + 1)):
            if await _tried(session, args, last=not left):
                return 0
            print("Retrying...", file=_talk(args))
            await asyncio.sleep(BETWEEN)
        return 1
    finally:
        if goes:
            await _delete(session, args)


async def _tried(session: Session, args: argparse.Namespace, *, last: bool) -> bool:
    """Whether it is done. Raises Failure, ApiError."""
    from virtpod.cli import _export as export

    try:
        await _fetched(session, args)
    except export.Transient as error:
        if last:
            raise
        print(error, file=_talk(args))
        return False
    if not args.manifest:
        print("Download finished succesfully", file=_talk(args))
    return True


async def _fetched(session: Session, args: argparse.Namespace) -> None:
    from virtpod.cli import _export as export

    within = parameters.duration("readiness-timeout", args.readiness_timeout or READY_WITHIN)
    headers = {"Accept": JSON if args.manifest_output_format == "json" else YAML}
    service, insecure = args.service_url, args.insecure
    async with contextlib.AsyncExitStack() as stack:
        if args.port_forward:
            found = await export.ready(session, args.name, within, "service")
            address = await stack.enter_async_context(
                export.pod_of(session, found, args.local_port)
            )
            # The certificate is the service's; the way there is the API server's own.
            service, insecure = service or address, True
        wanted = export.Wanted(
            volume=args.volume,
            raw=args.format == "raw",
            service=service,
            insecure=insecure,
            headers=headers if args.manifest else {},
        )
        found = await export.ready(
            session, args.name, within, "internal" if service else "external"
        )
        if args.manifest:
            urls = export.manifests(found, wanted)
            kinds = ("all", "auth-header-secret") if args.include_secret else ("all",)
            with _file(args.output) as into:
                for kind in kinds:
                    if kind not in urls:
                        raise Failure(f"the export has no manifest of type {kind}")
                    await export.fetch(session, found, urls[kind], wanted, into, unpack=False)
            return
        url, compressed = export.volume(found, wanted)
        with _file(args.output) as into:
            unpack = wanted.raw and compressed
            await export.fetch(session, found, url, wanted, into, unpack=unpack)


@contextmanager
def _file(name: str) -> Iterator[BinaryIO]:
    """Raises Failure."""
    if name in ("", "-"):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(Path(name).open("wb"))
        except OSError as error:
            raise Failure(f"cannot write {name}: {error.strerror}") from error
        yield file


def _talk(args: argparse.Namespace) -> Any:
    """Standard output is what is downloaded, where that goes there."""
    own = args.action == "download" and args.output in ("", "-")
    return sys.stderr if own else sys.stdout
