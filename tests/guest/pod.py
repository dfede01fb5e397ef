"""A launcher in a container of its own, made by hand, and a virt-handler's side of the talk.

The root file system is the image's: Debian's folder and the two layers of Python code, laid over
each other, with the container's places in a folder that the test sees too.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from images import catalogue, code, debian, layers, layout
from tests import shown
from virtpod.domain import paths
from virtpod.launcher.inotify import appears
from virtpod.wire import codec
from virtpod.wire.messages import (
    Answer,
    DomainChanged,
    Done,
    Hello,
    Link,
    Message,
    Release,
    Stopping,
    Sync,
    Welcome,
)

HERE = Path(__file__).parent
UID = "0f5d3d54-6b0f-4b2f-9a87-1c0ffee00001"
NAMESPACE, NAME = "default", "vm"
QEMU = "qemu-system-x86_64"
ENDS_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
"""Each link of the chain: a test run that is killed takes its containers along. What `unshare
--kill-child` asks for is lost with the change of user."""
ENVIRONMENT = (
    "PATH=/usr/sbin:/usr/bin",
    "LANG=C.UTF-8",
    f"XDG_CACHE_HOME={paths.PRIVATE}",
    f"XDG_CONFIG_HOME={paths.PRIVATE}",
    "XDG_RUNTIME_DIR=/var/run",
)


def image() -> tuple[Path, ...]:
    """The folders of the launcher's image, uppermost first."""
    # As a command: one build at a time in a checkout. What is made is found below.
    built("virt-launcher", "demo-guest")
    store = layers.Store()
    own = catalogue.CODE["virt-launcher"]
    project, dependencies = code.project(own, store), code.dependencies(own, store)
    return (
        unpacked(project, store),
        unpacked(dependencies, store),
        debian.root("virt-launcher"),
    )


def built(*names: str) -> None:
    subprocess.run([sys.executable, "-m", "images", "build", *names], check=True, cwd=layout.ROOT)


def debian_guest() -> Path:
    """The same of the Debian guest, which few tests want: it takes minutes to make."""
    built("debian-guest")
    return catalogue.DEBIAN_GUEST_DISK.parent.parent


def demo_guest() -> Path:
    """The folder that the demo guest's image is."""
    store = layers.Store()
    (layer,) = catalogue.DEMO_GUEST.layers(store)
    return unpacked(layer, store)


def unpacked(layer: layers.Layer, store: layers.Store) -> Path:
    kept = layout.CACHE / "test-layers"
    tree = kept / f"{layer.what}-{layer.digest[7:23]}"
    if not tree.exists():
        for old in kept.glob(f"{layer.what}-*"):
            shutil.rmtree(old)
        partial = tree.with_suffix(".partial")
        partial.mkdir(parents=True)
        layers.unpack(layer, store, partial)
        partial.rename(tree)
    return tree


class Container:
    """One container. `launcher` is its first process as the host sees it."""

    def __init__(self, root: Path, run: Path, *, kvm: bool = False) -> None:
        self.root = root
        self.run = run
        self._kvm = "yes" if kvm else "no"
        self._process: subprocess.Popen[bytes] | None = None
        self.log = run.parent / "log"
        self.terminations = run.parent / "termination-log"
        self.terminations.touch()
        self.terminations.chmod(0o666)

    def start(self, *command: str, user: int = paths.QEMU_UID) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *ENDS_WITH_PARENT,
                    *("unshare", "--mount", "--pid", "--net", "--uts", "--ipc"),
                    *("--fork", "--kill-child"),
                    *("sh", str(HERE / "container.sh"), str(self.root), str(self.run), self._kvm),
                    *(*ENDS_WITH_PARENT, f"--reuid={user}", f"--regid={user}", "--clear-groups"),
                    *("env", "-i", *ENVIRONMENT, *command),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def launch(self, *more: str) -> None:
        self.start(
            "/usr/bin/virt-launcher",
            *("--namespace", NAMESPACE, "--name", NAME, "--uid", UID),
            *more,
        )

    @property
    def first(self) -> int:
        """The host's number of the container's first process."""
        assert self._process
        return int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text())

    def processes(self, name: str) -> list[int]:
        """The host's numbers of those in the container that run a program."""
        space = os.readlink(f"/proc/{self.first}/ns/pid")
        return [pid for pid in _running(name) if _namespace(pid) == space]

    def resident(self) -> int:
        """Bytes of memory that the first process and libvirtd have for themselves."""
        pids = [self.first, *self.processes("libvirtd")]
        return sum(_private(pid) for pid in pids)

    def volume(self, index: int, image: Path) -> None:
        """Mounts an image's folder as an image volume: as a copy, it is in the container's way."""
        shutil.copytree(image, self.inside(paths.image_volume(index)), symlinks=True)

    def wait(self, within: float) -> int:
        assert self._process
        return self._process.wait(within)

    async def exit_code(self, within: float) -> int:
        assert self._process
        async with asyncio.timeout(within):
            return await asyncio.to_thread(self._process.wait)

    async def gone(self, pid: int, within: float = 10) -> None:
        """Waits until a process of the container has ended, reaped or not."""
        handle = os.pidfd_open(pid)
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(handle, ended.set)
        try:
            async with asyncio.timeout(within):
                await ended.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)

    async def comes_up(self, within: float = 10) -> bool:
        """Waits until Python is loaded as the first process; whether SIGTERM waits for it by then
        already. What the first process neither blocks nor handles is dropped."""
        async with asyncio.timeout(within):
            while not self._program().startswith("python"):  # noqa: ASYNC110  # /proc is mute
                await asyncio.sleep(0.0005)
        status = Path(f"/proc/{self.first}/status").read_text()
        lines = dict(line.split(":\t", 1) for line in status.splitlines())
        handled = int(lines["SigBlk"], 16) | int(lines["SigCgt"], 16)
        return bool(handled & 1 << (signal.SIGTERM - 1))

    def _program(self) -> str:
        try:
            return os.path.basename(os.readlink(f"/proc/{self.first}/exe"))
        except (OSError, ValueError):
            return ""

    def last_words(self) -> str:
        """What the launcher left for the kubelet to show."""
        return self.terminations.read_text()

    def terminate(self) -> None:
        os.kill(self.first, signal.SIGTERM)

    def end(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        # The first process of the namespace itself: the kernel takes the rest along.
        pid = self._process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        self._process.wait()

    def inside(self, path: str) -> Path:
        """A path below /var/run, as the test sees it."""
        return self.run / path.removeprefix("/var/run/")


def _private(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024


def _running(name: str) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if os.path.basename(words[0].decode(errors="replace")) == name:
                yield int(entry.name)


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


@contextmanager
def container(folders: tuple[Path, ...], *, kvm: bool = False) -> Iterator[Container]:
    """A fresh container; whatever still runs in it at the end is killed."""
    # Not pytest's folder: a unix socket's path has room for 107 bytes.
    with tempfile.TemporaryDirectory(prefix="vl") as place:
        own = Path(place)
        own.chmod(0o755)
        names = ("root", "upper", "work", "run")
        root, upper, work, run = (own / name for name in names)
        for folder in (root, upper, work, run):
            folder.mkdir(mode=0o755)
        for path in (
            *(paths.PRIVATE, paths.SHARE, paths.SOCKETS, paths.EPHEMERAL),
            *(paths.LIBVIRT_RUNTIME, paths.IMAGE_VOLUMES, paths.SECRETS),
        ):
            folder = run / path.removeprefix("/var/run/")
            folder.mkdir(parents=True)
            shutil.chown(folder, paths.QEMU_UID, paths.QEMU_UID)
        lower = ":".join(map(str, folders))
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", root], check=True)
        made = Container(root, run, kvm=kvm)
        try:
            yield made
        finally:
            made.end()
            if made.log.exists():
                print(made.log.read_text(errors="replace"))  # noqa: T201  # shown where a test fails
            subprocess.run(["umount", root], check=True)


@dataclass
class Handler:
    """virt-handler's end of one conversation."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    events: list[Message] = field(default_factory=list)
    times: dict[str, float] = field(default_factory=dict)
    _ids: int = 0

    def send(self, message: object) -> None:
        self.writer.write(codec.frame(message))

    async def until(self, wanted: Callable[[Message], bool], within: float = 30) -> Message:
        """Reads until a message is the wanted one; all are kept in `events`."""
        async with asyncio.timeout(within):
            while True:
                message = await codec.read(self.reader, codec.replies)
                assert message is not None, f"the launcher hung up after {self.events}"
                self.events.append(message)
                if wanted(message):
                    return message

    async def domain(self, *states: str, within: float = 30) -> DomainChanged:
        """The latest state where it is one of these, or else the next that is."""
        told = [event for event in self.events if isinstance(event, DomainChanged)]
        if told and told[-1].state in states:
            return told[-1]
        found = await self.until(
            lambda m: isinstance(m, DomainChanged) and m.state in states, within
        )
        assert isinstance(found, DomainChanged)
        return found

    async def ask(self, make: Callable[[int], Any], within: float = 30) -> Answer:
        """Sends a request and waits for its answer."""
        self._ids += 1
        number = self._ids
        self.send(make(number))
        found = await self.until(lambda m: isinstance(m, Answer) and m.id == number, within)
        assert isinstance(found, Answer)
        return found

    async def sync(
        self,
        vmi: dict[str, Any],
        links: Sequence[Link] = (),
        within: float = 60,
        hotplugged: list[str] | None = None,
    ) -> Answer:
        shown.given(vmi["spec"])
        raw = msgspec.Raw(msgspec.json.encode(vmi))
        more: dict[str, Any] = {"links": list(links), "hotplugged": hotplugged}
        return await self.ask(lambda n: Sync(id=n, vmi=raw, emulation=True, **more), within)

    async def rewire(self, vmi: dict[str, Any], links: Sequence[Link]) -> Answer:
        """For a guest that runs, whose network cards changed."""
        raw = msgspec.Raw(msgspec.json.encode(vmi))
        shown.given(vmi["spec"])
        return await self.ask(lambda n: Sync(id=n, vmi=raw, links=list(links), cards=True), 60)

    async def release(self) -> None:
        await self.ask(lambda n: Release(id=n))

    @property
    def last(self) -> DomainChanged:
        """The latest state that was told."""
        return [event for event in self.events if isinstance(event, DomainChanged)][-1]

    @property
    def stopping(self) -> list[Stopping]:
        return [event for event in self.events if isinstance(event, Stopping)]


@asynccontextmanager
async def connected(
    made: Container, cache: dict[str, bytes], within: float = 20
) -> AsyncIterator[Handler]:
    """Connects as soon as the socket is there, and says Hello."""
    path = made.inside(f"{paths.SOCKETS}/{paths.LAUNCHER_SOCKET}")
    async with asyncio.timeout(within):
        await appears(str(path))
    reader, writer = await asyncio.open_unix_connection(path, limit=codec.LIMIT)
    handler = Handler(reader, writer)
    try:
        handler.send(Hello(node="n", capabilities=cache))
        await handler.until(lambda m: isinstance(m, Welcome))
        yield handler
    finally:
        writer.close()


class Serial:
    """The guest's serial console."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.seen = ""

    @classmethod
    async def of(cls, made: Container) -> Serial:
        return cls(*await asyncio.open_unix_connection(made.inside(paths.serial_socket(UID))))

    async def until(self, text: str, within: float = 150) -> str:
        """What came up to and with `text`."""
        try:
            async with asyncio.timeout(within):
                while text not in self.seen:
                    data = await self._reader.read(4096)
                    assert data, f"the console ended: {self.seen}"
                    self.seen += data.decode(errors="replace").replace("\r", "")
        except TimeoutError:
            raise AssertionError(f"no {text!r} on the console but: {self.seen}") from None
        found, _, self.seen = self.seen.partition(text)
        return found + text

    def say(self, line: str) -> None:
        self._writer.write(line.encode() + b"\n")

    async def log_in(self, password: str = "demo") -> None:
        """At the prompt, as root."""
        self.say("root")
        await self.until("assword: ")
        self.say(password)
        await self.until("# ")

    async def answer(self, command: str) -> str:
        """What a command prints."""
        # The marks are put together by the shell, so the echo of the line has none.
        self.say(f"echo be''gin; {command}; echo en''d")
        await self.until("begin\n")
        return (await self.until("end\n")).removesuffix("end\n")


@asynccontextmanager
async def logged_in(
    made: Container, cache: dict[str, bytes], vmi: dict[str, Any]
) -> AsyncIterator[tuple[Handler, Serial]]:
    """A guest that is started in a container, with root at its console's prompt."""
    made.launch()
    async with connected(made, cache) as handler:
        assert isinstance(answer := await handler.sync(vmi), Done), answer
        serial = await Serial.of(made)
        await serial.until("login:")
        await serial.log_in()
        yield handler, serial
