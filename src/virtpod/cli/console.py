"""virtctl console VMI: the guest's serial port on this terminal.

Works with pipes as well: what is piped in is typed, what the guest writes goes to standard
output, everything else to standard error. The end of piped input leaves the console open, so that
the answer can be read; the escape byte (0x1d) ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from virtpod.cli.session import VMIS, Failure, Refused, Session
from virtpod.cli.session import run as run_session

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

ESCAPE = b"\x1d"
BEFORE_RUNNING = ("", "Pending", "Scheduling", "Scheduled")
EXAMPLES = """examples:
  virtctl console demo
  printf 'uptime\\n' | timeout 5 virtctl console demo"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="VMI")
    parser.add_argument(
        "--timeout",
        type=float,
        default=5,
        metavar="MINUTES",
        help="to wait for the virtual machine instance to run (default 5)",
    )


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(args.timeout * 60):
                    socket = await _connected(session, args.name, stack)
            except TimeoutError as error:
                raise Failure(
                    f"virtual machine instance {args.name} is not running after "
                    f"{args.timeout:g} minutes"
                ) from error
            return await _converse(socket, args.name)

    return run_session(args, act)


async def _connected(session: Session, name: str, stack: AsyncExitStack) -> ClientWebSocketResponse:
    """The open console, as soon as the guest runs."""
    path = session.path(VMIS, name, "console")
    while True:
        try:
            return await stack.enter_async_context(session.stream(path))
        except Refused as refused:
            # Between Scheduled and Running the node may know nothing of the guest yet.
            if refused.status in (0, 401, 403) or not await _starting(session, name):
                raise Failure(f"Can't access VMI {name}: {refused}") from refused


async def _starting(session: Session, name: str) -> bool:
    """Waits until a VMI that does not run yet does; False where there is nothing to wait for."""
    from virtpod.kube.errors import Expired
    from virtpod.kube.resources import VMIS as RESOURCE

    vmi = await session.client.get(RESOURCE, (session.namespace, name))
    if _phase(vmi) not in ("", "Pending", "Scheduling", "Scheduled"):
        return False
    print(
        f"Waiting for {name} to run (phase {_phase(vmi) or 'unset'})", file=sys.stderr, flush=True
    )
    while True:
        version = vmi["metadata"]["resourceVersion"]
        changes = session.client.watch(
            RESOURCE,
            resource_version=version,
            namespace=session.namespace,
            fields=f"metadata.name={name}",
        )
        try:
            async for event in changes:
                if event.type == "DELETED":
                    raise Failure(f"virtual machine instance {name} was deleted")
                if event.type == "BOOKMARK":
                    continue
                if _phase(event.object) not in BEFORE_RUNNING:
                    return True
        except Expired:
            pass
        vmi = await session.client.get(RESOURCE, (session.namespace, name))


def _phase(vmi: dict[str, Any]) -> str:
    phase = (vmi.get("status") or {}).get("phase")
    return phase if isinstance(phase, str) else ""


async def _converse(socket: ClientWebSocketResponse, name: str) -> int:
    from virtpod.cli.terminal import Input, raw, write
    from virtpod.cli.tunnel import splice

    keys = Input(sys.stdin.fileno())
    asked_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_end.set)
    escaped = False

    async def typed() -> bytes | None:
        """What was typed; None at the escape byte. Piped input that ends leaves us listening."""
        nonlocal escaped
        if escaped:
            asked_to_end.set()
            return None
        data = await keys.next()
        if data is None:
            await asked_to_end.wait()
            return None
        before, escape, _ = data.partition(ESCAPE)
        escaped = bool(escape)
        return before or await typed()

    async def until_asked() -> None:
        await asked_to_end.wait()
        await socket.close()

    with raw(sys.stdin.fileno()):
        # Said once keys go to the guest: who waits for this line may type at once. A raw terminal
        # wants the carriage return.
        end = "\r\n" if sys.stderr.isatty() else "\n"
        text = f"Successfully connected to {name} console. Press Ctrl+] or Ctrl+5 to exit console."
        print(text, end=end, file=sys.stderr, flush=True)
        async with asyncio.TaskGroup() as group:
            ending = group.create_task(until_asked())
            await splice(socket, typed, write, lambda: None)
            ending.cancel()
    if not asked_to_end.is_set():
        print(
            "\nThe console was closed: the guest has stopped, somebody else opened its console, or "
            "the connection broke.",
            file=sys.stderr,
        )
    return 0
