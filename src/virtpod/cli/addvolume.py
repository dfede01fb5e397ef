"""virtctl addvolume VM"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from virtpod.cli.session import VMS, Failure, Session, dry_run
from virtpod.cli.session import run as run_session

TRIES = 15
"""Times that a change is tried which somebody else's change came before."""
BETWEEN = 0.2

EXAMPLES = """\
examples:
  virtctl addvolume my-vm --volume-name=my-claim --serial=1234
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="VM")
    parser.add_argument(
        "--volume-name", required=True, help="the DataVolume or PersistentVolumeClaim"
    )
    parser.add_argument("--disk-name", default="", help="name in the VM; by default the volume's")
    parser.add_argument("--serial", default="", help="serial number; by default the volume's name")
    parser.add_argument("--cache", default="", choices=("", "none", "writethrough", "writeback"))
    parser.add_argument("--disk-type", default="disk", choices=("disk", "lun", "cdrom"))
    parser.add_argument("--bus", default="scsi", choices=("scsi", "virtio", "sata"))
    parser.add_argument("--persist", action="store_true", help="deprecated: has no effect")
    parser.add_argument("--dry-run", action="store_true", help="check only, change nothing")


def run(args: argparse.Namespace) -> int:
    if args.persist:
        print("--persist is deprecated: the volume always becomes a part of the VM")
    options = dry_run(args)

    async def act(session: Session) -> int:
        name = args.disk_name or args.volume_name
        target = {"bus": args.bus}
        disk: dict[str, Any] = {"name": name, "serial": args.serial or name}
        disk[args.disk_type] = target
        if args.cache:
            disk["cache"] = args.cache
        source = await _source(session, args.volume_name)
        body = {"name": name, "disk": disk, "volumeSource": source, **options}
        await change(session, args.name, "addvolume", body)
        print(f"Successfully submitted add volume request to VM {args.name} for volume {name}")
        return 0

    return run_session(args, act)


async def _source(session: Session, name: str) -> dict[str, Any]:
    """A data volume where there is one of that name, else a claim."""
    from virtpod.kube import resources
    from virtpod.kube.errors import ApiError, NotFound

    key = (session.namespace, name)
    kinds = (
        (resources.DATA_VOLUMES, {"dataVolume": {"name": name, "hotpluggable": True}}),
        (resources.PVCS, {"persistentVolumeClaim": {"claimName": name, "hotpluggable": True}}),
    )
    for resource, source in kinds:
        try:
            await session.client.get(resource, key)
        except NotFound:
            continue
        except ApiError as error:
            raise Failure(f"cannot look for volume {name}: {error.message or error}") from error
        return source
    raise Failure(f"volume {name} is neither a DataVolume nor a PersistentVolumeClaim")


async def change(session: Session, name: str, verb: str, body: dict[str, Any]) -> None:
    """Again where the VM was changed by somebody else meanwhile. Raises Failure."""
    from virtpod.kube.errors import ApiError

    for left in reversed(range(TRIES)):
        try:
            await session.put(VMS, name, verb, body)
        except ApiError as error:
            if left and "the object has been modified" in (error.message or ""):
                await asyncio.sleep(BETWEEN)
                continue
            raise Failure(f"error {_DOING[verb]}: {error.message or error}") from error
        return


_DOING = {
    "addvolume": "adding volume",
    "removevolume": "removing volume",
    "memorydump": "dumping memory",
    "removememorydump": "removing memory dump association",
}
