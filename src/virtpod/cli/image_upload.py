"""virtctl image-upload dv|pvc NAME: an image of this machine into a volume, by CDI's upload proxy.

https://github.com/kubevirt/containerized-data-importer/blob/main/doc/upload.md
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from virtpod.cli import _parameters as parameters
from virtpod.cli.session import Failure, Session
from virtpod.cli.session import run as run_session

Json = dict[str, Any]
EXAMPLES = """examples:
  virtctl image-upload dv debian --size 4Gi --image-path debian.qcow2
  virtctl image-upload pvc debian --size 4Gi --image-path debian.qcow2 --storage-class fast \\
      --uploadproxy-url https://cdi-uploadproxy.example.org --insecure
  virtctl image-upload dv debian --no-create --image-path debian.qcow2
CDI is what takes the image. Where it is not installed: make the image a container image that has it
in /disk/, and name that as containerDisk."""

GROUP = "instancetype.kubevirt.io/default-"
CDI = "cdi.kubevirt.io"
ANNOTATIONS = {
    "target": f"{CDI}/storage.upload.target",
    "content": f"{CDI}/storage.contentType",
    "phase": f"{CDI}/storage.pod.phase",
    "ready": f"{CDI}/storage.pod.ready",
    "bind": f"{CDI}/storage.bind.immediate.requested",
}
DEFAULTS = ("instancetype", "instancetype-kind", "preference", "preference-kind")
NO_CDI = (
    "this cluster has no server that takes uploads: CDI is not installed there; put the image into "
    "a containerDisk (virtctl image-upload --help)"
)
PERIOD = 2.0
"""Seconds between two looks."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="+", metavar="[dv|pvc] NAME", help="dv by default")
    image = parser.add_mutually_exclusive_group(required=True)
    image.add_argument("--image-path", default="", metavar="FILE", help="a disk's image")
    image.add_argument("--archive-path", default="", metavar="FILE", help="a tar of files")
    parser.add_argument("--size", default="", metavar="SIZE", help="of the volume, such as 10Gi")
    parser.add_argument("--no-create", action="store_true", help="use a volume that is there")
    parser.add_argument("--storage-class", default="", metavar="NAME")
    parser.add_argument(
        "--access-mode",
        default="",
        choices=("", "ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"),
    )
    parser.add_argument(
        "--volume-mode", default="", type=str.lower, choices=("", "block", "filesystem")
    )
    parser.add_argument(
        "--force-bind", action="store_true", help="do not wait for a pod that uses the volume"
    )
    parser.add_argument("--datasource", action="store_true", help="make a DataSource of it too")
    for what in DEFAULTS:
        parser.add_argument(
            f"--default-{what}", default="", metavar="NAME", help="a label for those who infer"
        )
    parser.add_argument(
        "--uploadproxy-url", default="", metavar="URL", help="by default what CDI says of itself"
    )
    parser.add_argument("--insecure", action="store_true", help="believe any certificate")
    parser.add_argument(
        "--wait-secs", type=int, default=300, metavar="SECONDS", help="for the server, and after"
    )
    parser.add_argument("--retry", type=int, default=5, metavar="COUNT", help="tries after errors")


def run(args: argparse.Namespace) -> int:
    try:
        args.kind, args.name = _target(args.target)
        args.file = _checked(args)
    except Failure as failure:
        return parameters.told(failure)
    return run_session(args, lambda session: _upload(session, args))


def _target(words: list[str]) -> tuple[str, str]:
    """Raises Failure."""
    match words:
        case [name]:
            return "dv", name
        case [("dv" | "pvc") as kind, name]:
            return kind, name
    raise Failure("image-upload wants dv NAME or pvc NAME")


def _checked(args: argparse.Namespace) -> Path:
    """The file. Raises Failure."""
    file = Path(args.image_path or args.archive_path)
    if not file.is_file():
        raise Failure(f"{file} is not there, or is no file")
    if args.no_create and args.size:
        raise Failure("--size is that of a volume which is made: leave it, or --no-create, out")
    if not args.no_create:
        if not args.size:
            raise Failure("--size says how large the volume is to be; --no-create uses one there")
        parameters.quantity("size", args.size)
    if args.archive_path and args.volume_mode == "block":
        raise Failure("--archive-path is for files: --volume-mode block has none")
    if args.datasource and args.kind == "pvc":
        raise Failure("--datasource goes with dv")
    for what in ("instancetype", "preference"):
        if getattr(args, f"default_{what}_kind") and not getattr(args, f"default_{what}"):
            raise Failure(f"--default-{what}-kind goes with --default-{what}")
    if args.retry < 0 or args.wait_secs <= 0:
        raise Failure("--retry is 0 or more, --wait-secs more than 0")
    return file


async def _upload(session: Session, args: argparse.Namespace) -> int:
    from virtpod.cli import _upload as upload
    from virtpod.kube.resources import Key

    key = Key(session.namespace, args.name)
    proxy = await upload.proxy(session, args.uploadproxy_url)
    made = volume(args)
    if args.no_create:
        await upload.there(session, key, args.kind)
        print(f"Using existing {_word(args)} {key}")
    else:
        await upload.create(session, key, args.kind, made)
        print(f"{_word(args)} {key} created")
    print(f"Waiting for {_word(args)} {args.name} upload pod to be ready...")
    await upload.ready(session, key, args.wait_secs)
    print("Pod now ready")
    print(f"Uploading data to {proxy}", flush=True)
    for left in reversed(range(args.retry + 1)):
        try:
            token = await upload.token(session, key)
            await upload.send(proxy, token, args.file, insecure=args.insecure)
            break
        except upload.Transient as error:
            if not left:
                raise
            print(f"{error}; trying again", file=sys.stderr)
            await asyncio.sleep(PERIOD)
    print("Uploading data completed successfully, waiting for processing to complete")
    await upload.processed(session, key, args.wait_secs)
    if args.datasource:
        await upload.data_source(session, key, made["metadata"].get("labels") or {})
        print(f"DataSource {key} created")
    print(f"Uploading {args.file} completed successfully")
    return 0


def _word(args: argparse.Namespace) -> str:
    return {"dv": "DataVolume", "pvc": "PVC"}[args.kind]


def volume(args: argparse.Namespace) -> Json:
    """The DataVolume or the claim that is made."""
    labels = {
        f"{GROUP}{what}": value
        for what in DEFAULTS
        if (value := getattr(args, f"default_{what.replace('-', '_')}"))
    }
    claim: Json = {"resources": {"requests": {"storage": args.size}}}
    if args.storage_class:
        claim["storageClassName"] = args.storage_class
    if args.access_mode:
        claim["accessModes"] = [args.access_mode]
    if args.volume_mode:
        claim["volumeMode"] = args.volume_mode.capitalize()
    content = "archive" if args.archive_path else "kubevirt"
    notes = {ANNOTATIONS["bind"]: ""} if args.force_bind else {}
    if args.kind == "dv":
        spec = {"source": {"upload": {}}, "contentType": content, "storage": claim}
    else:
        notes |= {ANNOTATIONS["target"]: "", ANNOTATIONS["content"]: content}
        spec = {"accessModes": ["ReadWriteOnce"], **claim}
    metadata: Json = {"name": args.name}
    metadata |= {"labels": labels} if labels else {}
    metadata |= {"annotations": notes} if notes else {}
    return {"metadata": metadata, "spec": spec}
