"""virtctl vnc VMI: a viewer for the guest's display, or a local port for one.

The websocket is opened first, so that what is wrong is told before a viewer starts; then one
local connection is carried over it.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys

from virtpod.cli.session import VMIS, Failure, Refused, Session
from virtpod.cli.session import run as run_session

ACCEPT = 60.0
"""Seconds that a viewer has to connect."""

EXAMPLES = """examples:
  virtctl vnc demo
  virtctl vnc demo --proxy-only --port 5901"""

_VIEWERS = {
    "remote-viewer": ("remote-viewer", "vnc://{host}:{port}"),
    "virt-viewer": ("virt-viewer", "--direct", "vnc://{host}:{port}"),
    "gvncviewer": ("gvncviewer", "{host}::{port}"),
    "xtigervncviewer": ("xtigervncviewer", "{host}::{port}"),
    "vncviewer": ("vncviewer", "{host}::{port}"),
    "krdc": ("krdc", "vnc://{host}:{port}"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="VMI")
    parser.add_argument(
        "--proxy-only", action="store_true", help="print the port and start no viewer"
    )
    parser.add_argument("--address", default="127.0.0.1", help="to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="to listen on; any by default")
    parser.add_argument("--vnc-type", choices=sorted(_VIEWERS), help="the viewer to start")
    parser.add_argument("--vnc-path", metavar="FILE", help="where the viewer is, if not on PATH")
    parser.add_argument(
        "--preserve-session", action="store_true", help="do not end somebody else's connection"
    )


def run(args: argparse.Namespace) -> int:
    async def act(session: Session) -> int:
        viewer = None if args.proxy_only else _viewer(args)
        query = {"preserveSession": "true"} if args.preserve_session else None
        try:
            async with session.stream(session.path(VMIS, args.name, "vnc"), query) as socket:
                return await _serve(args, socket, viewer)
        except Refused as refused:
            raise Failure(f"Can't access VMI {args.name}: {refused}") from refused

    return run_session(args, act)


def _viewer(args: argparse.Namespace) -> tuple[str, ...]:
    """The command line, with places for host and port. Raises Failure."""
    wanted = [args.vnc_type] if args.vnc_type else list(_VIEWERS)
    for name in wanted:
        program, *rest = _VIEWERS[name]
        found = args.vnc_path or shutil.which(program)
        if found:
            return (found, *rest)
    raise Failure(
        f"no VNC viewer found (looked for {', '.join(wanted)}); --proxy-only opens a port for one"
    )


async def _serve(args: argparse.Namespace, socket: object, viewer: tuple[str, ...] | None) -> int:
    from aiohttp import ClientWebSocketResponse

    from virtpod.cli.tunnel import carry

    assert isinstance(socket, ClientWebSocketResponse)
    loop = asyncio.get_running_loop()
    first: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = loop.create_future()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if first.done():
            writer.close()
        else:
            first.set_result((reader, writer))

    try:
        server = await asyncio.start_server(accepted, args.address, args.port)
    except OSError as error:
        raise Failure(f"cannot listen on {args.address}:{args.port}: {error.strerror}") from error
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        if viewer is None:
            print(f'{{"port":{port}}}', flush=True)
            reader, writer = await first
        else:
            program = [part.format(host=host, port=port) for part in viewer]
            process = await asyncio.create_subprocess_exec(*program)
            try:
                async with asyncio.timeout(ACCEPT):
                    reader, writer = await first
            except TimeoutError as error:
                process.terminate()
                raise Failure(f"{program[0]} did not connect") from error
        server.close()
        await carry(socket, reader, writer)
    print("VNC connection closed", file=sys.stderr)
    return 0
