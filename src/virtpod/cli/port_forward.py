"""virtctl port-forward TYPE/NAME[/NAMESPACE] [PROTOCOL/]LOCAL[:REMOTE]...

Each local connection gets a tunnel of its own. With --stdio the one port is this process's
standard input and output, which is what `ssh -o ProxyCommand=` wants.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from virtpod.cli import session as sessions
from virtpod.cli.session import Failure, Refused, Session

EXAMPLES = """examples:
  virtctl port-forward vmi/demo 8080:80
  virtctl port-forward vm/demo/other-namespace tcp/2222:22 udp/5353:53
  ssh -o ProxyCommand='virtctl port-forward --stdio vmi/demo 22' user@demo"""

_PORT = re.compile(r"(?:(tcp|udp)/)?(\d{1,5})(?::(\d{1,5}))?")


@dataclass(frozen=True)
class Target:
    """Whose port."""

    resource: str
    name: str
    namespace: str = ""


@dataclass(frozen=True)
class Port:
    """Which port, here and in the guest."""

    protocol: str
    local: int
    remote: int


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TYPE/NAME[/NAMESPACE]", help="type: vm or vmi")
    parser.add_argument("ports", nargs="+", metavar="[PROTOCOL/]LOCAL[:REMOTE]")
    parser.add_argument("--address", default="127.0.0.1", help="to listen on (default 127.0.0.1)")
    parser.add_argument(
        "--stdio", action="store_true", help="use standard input and output, not a local port"
    )


def run(args: argparse.Namespace) -> int:
    try:
        target = parse_target(args.target)
        ports = [parse_port(port) for port in args.ports]
        if args.stdio and len(ports) != 1:
            raise Failure("--stdio takes exactly one port")
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1

    async def act(session: Session) -> int:
        session = replace(session, namespace=target.namespace or session.namespace)
        if args.stdio:
            return await _standard(session, target, ports[0])
        return await _listen(session, target, ports, args.address)

    return sessions.run(args, act)


def parse_target(text: str) -> Target:
    """`vmi/demo`, `vm/demo/namespace`. Raises Failure."""
    kind, _, rest = text.partition("/")
    name, _, namespace = rest.partition("/")
    if not name or "/" in namespace:
        raise Failure(f'target "{text}" is not TYPE/NAME[/NAMESPACE]')
    return Target(sessions.target(kind), name, namespace)


def parse_port(text: str) -> Port:
    """`80`, `8080:80`, `udp/53`. Raises Failure."""
    match = _PORT.fullmatch(text)
    if match is None:
        raise Failure(f'port "{text}" is not [PROTOCOL/]LOCAL[:REMOTE]')
    protocol, local, remote = match[1] or "tcp", int(match[2]), int(match[3] or match[2])
    if not (0 <= local < 65536 and 0 < remote < 65536):
        raise Failure(f'port "{text}" is out of range')
    return Port(protocol, local, remote)


def path(session: Session, target: Target, port: Port) -> str:
    """Of the tunnel."""
    return session.path(target.resource, target.name, f"portforward/{port.remote}/{port.protocol}")


async def _standard(session: Session, target: Target, port: Port) -> int:
    from virtpod.cli.tunnel import carry_standard

    async with session.stream(path(session, target, port)) as socket:
        await carry_standard(socket)
    return 0


async def _listen(session: Session, target: Target, ports: list[Port], address: str) -> int:
    async with AsyncExitStack() as stack:
        for port in ports:
            if port.protocol == "udp":
                bound = await _udp(session, target, port, address, stack)
            else:
                bound = await _tcp(session, target, port, address, stack)
            print(
                f"Forwarding {port.protocol} {address}:{bound} to {port.remote}",
                file=sys.stderr,
                flush=True,
            )
        # Until Ctrl+C.
        await asyncio.get_running_loop().create_future()
    return 0


async def _tcp(
    session: Session, target: Target, port: Port, address: str, stack: AsyncExitStack
) -> int:
    from virtpod.cli.tunnel import carry

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with session.stream(path(session, target, port)) as socket:
                await carry(socket, reader, writer)
        except Refused as refused:
            print(f"port {port.remote}: {refused}", file=sys.stderr, flush=True)
            writer.close()

    server = await asyncio.start_server(accepted, address, port.local)
    await stack.enter_async_context(server)
    bound: int = server.sockets[0].getsockname()[1]
    return bound


async def _udp(
    session: Session, target: Target, port: Port, address: str, stack: AsyncExitStack
) -> int:
    """One tunnel per local peer, for as long as the command runs."""
    from virtpod.cli.datagrams import Datagrams

    tasks = await stack.enter_async_context(asyncio.TaskGroup())
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Datagrams(tasks, lambda: session.stream(path(session, target, port))),
        local_addr=(address, port.local),
    )
    stack.callback(transport.close)
    bound: int = transport.get_extra_info("sockname")[1]
    return bound
