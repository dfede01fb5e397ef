"""virtctl vnc VMI: a viewer for the guest's display, or a local port for one.
virtctl vnc screenshot VMI: what is on it, as PNG.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from virtpod.cli.session import VMIS, Failure, Refused, Session
from virtpod.cli.session import run as run_session
from virtpod.cli.tunnel import serve_one

EXAMPLES = """examples:
  virtctl vnc demo
  virtctl vnc demo --proxy-only --port 5901
  virtctl vnc screenshot demo --file demo.png"""

_VIEWERS = {
    "remote-viewer": ("remote-viewer", "vnc://{host}:{port}"),
    "virt-viewer": ("virt-viewer", "--direct", "vnc://{host}:{port}"),
    "gvncviewer": ("gvncviewer", "{host}::{port}"),
    "xtigervncviewer": ("xtigervncviewer", "{host}::{port}"),
    "vncviewer": ("vncviewer", "{host}::{port}"),
    "krdc": ("krdc", "vnc://{host}:{port}"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="+", metavar="[screenshot] VMI")
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
    parser.add_argument(
        "--shared", action="store_true", help="look together with others who say --shared"
    )
    parser.add_argument("-f", "--file", default="", help="for the screenshot; - is standard output")
    parser.add_argument(
        "--move-cursor", action="store_true", help="before the screenshot, to wake the screen"
    )


def run(args: argparse.Namespace) -> int:
    match args.target:
        case ["screenshot", name]:
            return run_session(args, lambda session: _screenshot(session, name, args))
        case [name]:
            return run_session(args, lambda session: _view(session, name, args))
    print(f"error: one VMI, not {len(args.target)} words", file=sys.stderr)
    return 1


async def _screenshot(session: Session, name: str, args: argparse.Namespace) -> int:
    query = "?moveCursor=true" if args.move_cursor else ""
    picture = await session.fetch(VMIS, name, f"vnc/screenshot{query}")
    if args.file in ("", "-"):
        sys.stdout.buffer.write(picture)
        return 0
    try:
        Path(args.file).write_bytes(picture)
    except OSError as error:
        raise Failure(f"cannot write {args.file}: {error.strerror}") from error
    return 0


async def _view(session: Session, name: str, args: argparse.Namespace) -> int:
    viewer = None if args.proxy_only else _viewer(args)
    chosen = {"preserveSession": args.preserve_session, "shared": args.shared}
    query = {option: "true" for option, wanted in chosen.items() if wanted}
    try:
        async with session.stream(session.path(VMIS, name, "vnc"), query or None) as socket:
            await serve_one(socket, args.address, args.port, viewer)
    except Refused as refused:
        raise Failure(f"Can't access VMI {name}: {refused}") from refused
    print("VNC connection closed", file=sys.stderr)
    return 0


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
