"""virtctl usbredir DEVICE VMI: a USB device of this machine, into a guest.

The device is read by `usbredirect`, which the packages of usbredir bring; here its connection is
carried to the guest.
"""

from __future__ import annotations

import argparse
import re
import shutil

from virtpod.cli.session import VMIS, Failure, Refused, Session
from virtpod.cli.session import run as run_session
from virtpod.cli.tunnel import serve_one

DEVICE = re.compile(r"[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}|[0-9]{1,3}-[0-9]{1,3}")
PROGRAM = "usbredirect"

EXAMPLES = """examples:
  virtctl usbredir 0951:1666 demo
  virtctl usbredir 2-4 demo
  virtctl usbredir --no-launch --port 4000 demo"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="[VENDOR:PRODUCT|BUS-DEVICE] VMI")
    parser.add_argument(
        "--no-launch", action="store_true", help=f"print the port and start no {PROGRAM}"
    )
    parser.add_argument("--address", default="127.0.0.1", help="to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="to listen on; any by default")


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        name, program = _chosen(args)
        try:
            async with session.stream(session.path(VMIS, name, "usbredir")) as socket:
                await serve_one(socket, args.address, args.port, program)
        except Refused as refused:
            raise Failure(f"Can't access VMI {name}: {refused}") from refused
        return 0

    return run_session(args, act)


def _chosen(args: argparse.Namespace) -> tuple[str, tuple[str, ...] | None]:
    """The VMI, and the program to start. Raises Failure."""
    match args.words:
        case [name] if args.no_launch:
            return name, None
        case [device, name] if not args.no_launch:
            if not DEVICE.fullmatch(device):
                raise Failure(f"{device} is no device: give VENDOR:PRODUCT or BUS-DEVICE, as lsusb")
        case _:
            raise Failure("give a device and a VMI, or --no-launch and a VMI")
    found = shutil.which(PROGRAM)
    if found is None:
        raise Failure(f"{PROGRAM} is not installed; --no-launch opens a port for another program")
    return name, (found, "--device", device, "--to", "{host}:{port}")
