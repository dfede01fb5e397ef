"""Carry TCP connections from one network namespace to another.

The API server listens in the control plane's namespace and the host's shell is in the host's, so
a process with a listening socket here connects there. `up --forward PORT` goes the other way: a
port of 127.0.0.1 within each node leads to the same port of the host (an image registry).

Run as `python3 -m localcluster.relay LISTEN-NETNS ADDRESS:PORT CONNECT-NETNS ADDRESS:PORT`, where
a namespace is a path, or `-` for the one it was started in. Port 0 listens on a free one. It
prints the port once it listens.

Source: network_namespaces(7): a socket stays in the namespace it was made in.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from . import cgroups, layout, linux
from .progress import Failed
from .state import Process, State

HERE = "-"
CHUNK = 256 * 1024


def start(
    name: str,
    state: State,
    *,
    listen: tuple[str, str],
    connect: tuple[str, str],
) -> int:
    """Start a relay in the background, note it in the state, and tell the port it listens on."""
    log = layout.LOGS / f"relay-{name}.log"
    with log.open("wb") as errors:
        relay = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.relay", *listen, *connect],
            cwd=layout.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert relay.stdout is not None
    started = linux.start_time(relay.pid)
    if started is not None:
        state.relays[name] = Process(relay.pid, started)
        state.save()
    port = relay.stdout.readline().strip()
    relay.stdout.close()
    if not port:
        relay.wait()
        raise Failed(f"the relay {name} did not start", log)
    relay.returncode = 0  # it outlives us, and is known by the state from now on
    return int(port)


def stop(name: str, state: State) -> None:
    process = state.relays[name]
    if not linux.kill_and_wait(process.pid, process.started, signal.SIGKILL, 10):
        raise Failed(f"the relay {name}, process {process.pid}, does not end")
    del state.relays[name]


def main(listen_netns: str, listen: str, connect_netns: str, connect: str) -> None:
    address, _, port = listen.rpartition(":")
    cgroups.join(cgroups.make("relays"))  # by which `down` finds what no state file knows
    with _place(listen_netns):
        listener = socket.create_server((address, int(port)), backlog=512)
    if connect_netns != HERE:
        linux.enter_netns(Path(connect_netns))
    target, _, target_port = connect.rpartition(":")
    print(listener.getsockname()[1], flush=True)
    os.close(1)
    asyncio.run(_serve(listener, target, int(target_port)))


def _place(netns: str) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if netns == HERE else linux.within_netns(Path(netns))


async def _serve(listener: socket.socket, address: str, port: int) -> None:
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A peer that goes away is the ordinary end of a connection, not an error of ours.
        with contextlib.suppress(OSError):
            await _carry(reader, writer, address, port)

    server = await asyncio.start_server(accepted, sock=listener, limit=CHUNK)
    async with server:
        await server.serve_forever()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, port: int
) -> None:
    try:
        far_reader, far_writer = await asyncio.wait_for(
            asyncio.open_connection(address, port, limit=CHUNK), timeout=10
        )
    except (OSError, TimeoutError):
        writer.transport.abort()
        return
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, far_writer))
            both.create_task(_copy(far_reader, writer))
    except* OSError:
        pass
    finally:
        writer.close()
        far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK):
        writer.write(chunk)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


if __name__ == "__main__":
    main(*sys.argv[1:5])
