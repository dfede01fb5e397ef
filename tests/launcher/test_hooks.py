"""Hook side-cars against grpc's own server and client; the messages against protoc's."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_tools import protoc

from virtpod.launcher import hooks, shim
from virtpod.launcher.hooks import HookFailed, Hooks
from virtpod.wire import protobuf

WIRE = Path(protobuf.__file__).parent
FILES = ("hooks_info", "hooks_v1alpha1", "hooks_v1alpha2", "hooks_v1alpha3")


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """protoc's modules of our proto files."""
    folder = tmp_path_factory.mktemp("protoc")
    files = [str(WIRE / f"{name}.proto") for name in FILES]
    assert protoc.main(["", f"-I{WIRE}", f"--python_out={folder}", *files]) == 0
    sys.path.insert(0, str(folder))
    yield {name.removeprefix("hooks_"): import_module(f"{name}_pb2") for name in FILES}
    sys.path.remove(str(folder))


class SideCar(grpc.GenericRpcHandler):
    """A side-car as others write them. `changes`: hook to what it does with the message."""

    def __init__(
        self, messages: dict[str, Any], name: str, changes: dict[str, Any], **more: Any
    ) -> None:
        self.info, self.name, self.changes = messages["info"], name, changes
        self.version = more.get("version", "v1alpha3")
        self.priority = more.get("priority", 0)
        self.api = messages.get(self.version)
        self.called: list[str] = []

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        if method == "/kubevirt.hooks.info.Info/Info":
            return grpc.unary_unary_rpc_method_handler(self.tell)
        service, _, hook = method.rpartition("/")
        if service != f"/kubevirt.hooks.{self.version}.Callbacks":
            return None

        def answer(request: bytes, context: Any) -> bytes:
            self.called.append(hook)
            message = getattr(self.api, f"{hook}Params").FromString(request)
            result = getattr(self.api, f"{hook}Result")()
            self.changes[hook](message, result)
            return bytes(result.SerializeToString())

        return grpc.unary_unary_rpc_method_handler(answer)

    def tell(self, request: bytes, context: Any) -> bytes:
        points = [self.info.HookPoint(name=hook, priority=self.priority) for hook in self.changes]
        found = self.info.InfoResult(name=self.name, versions=[self.version], hookPoints=points)
        return bytes(found.SerializeToString())


@asynccontextmanager
async def listening(folder: Path, *side_cars: SideCar) -> AsyncIterator[Hooks]:
    from concurrent.futures import ThreadPoolExecutor

    servers = []
    for index, each in enumerate(side_cars):
        place = folder / f"hook-sidecar-{index}"
        place.mkdir()
        server = grpc.server(ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers((each,))
        server.add_insecure_port(f"unix:{place}/any.sock")
        server.start()
        servers.append(server)
    try:
        yield Hooks(len(side_cars), str(folder))
    finally:
        for server in servers:
            server.stop(None)


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A unix socket's path has room for 107 bytes."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="hk") as folder:
        yield Path(folder)


def appends(word: str) -> dict[str, Any]:
    def change(message: Any, result: Any) -> None:
        result.domainXML = message.domainXML + word.encode()

    return {"OnDefineDomain": change}


async def test_the_higher_priority_comes_first_then_the_name(
    messages: dict[str, Any], place: Path
) -> None:
    side_cars = (
        SideCar(messages, "b", appends(" b")),
        SideCar(messages, "a", appends(" a"), version="v1alpha1"),
        SideCar(messages, "z", appends(" z"), version="v1alpha2", priority=10),
        SideCar(messages, "low", appends(" low"), priority=-1),
    )
    async with listening(place, *side_cars) as found:
        await found.collect()
        assert await found.define_domain("xml", b"{}") == "xml z a b low"


async def test_a_domain_larger_than_a_window_goes_there_and_back(
    messages: dict[str, Any], place: Path
) -> None:
    large = "<domain>" + "x" * 1_000_000 + "</domain>"
    async with listening(place, SideCar(messages, "a", appends("!"))) as found:
        await found.collect()
        assert await found.define_domain(large, b"{}") == large + "!"


async def test_what_a_side_car_raises_is_said(messages: dict[str, Any], place: Path) -> None:
    def broken(message: Any, result: Any) -> None:
        raise RuntimeError("no such disk: ü 100%")

    async with listening(place, SideCar(messages, "a", {"OnDefineDomain": broken})) as found:
        await found.collect()
        with pytest.raises(HookFailed, match=r"OnDefineDomain of side-car a \(hook-sidecar-0\).*ü"):
            await found.define_domain("xml", b"{}")


async def test_an_empty_domain_is_refused(messages: dict[str, Any], place: Path) -> None:
    async with listening(
        place, SideCar(messages, "a", {"OnDefineDomain": lambda message, result: None})
    ) as found:
        await found.collect()
        with pytest.raises(HookFailed, match="returned no domain"):
            await found.define_domain("xml", b"{}")


@pytest.mark.parametrize("older", [False, True])
async def test_cloud_init_is_changed_in_the_new_form_and_in_the_older_one(
    messages: dict[str, Any], place: Path, older: bool
) -> None:
    def change(message: Any, result: Any) -> None:
        if older:
            assert message.cloudInitNoCloudSource == b'{"userData":"#cloud-config"}'
            result.cloudInitNoCloudSource = b'{"userData":"changed"}'
        else:
            result.cloudInitData = message.cloudInitData.replace(b"#cloud-config", b"changed")

    told = {"UserData": "#cloud-config", "NetworkData": "", "VolumeName": "ci"}
    side_car = SideCar(messages, "a", {"PreCloudInitIso": change}, version="v1alpha2")
    async with listening(place, side_car) as found:
        await found.collect()
        assert await found.cloud_init(told, b"{}") == told | {"UserData": "changed"}


async def test_the_end_is_told_to_who_asked_for_it_and_speaks_the_version(
    messages: dict[str, Any], place: Path
) -> None:
    def heard(message: Any, result: Any) -> None:
        pass

    new = SideCar(messages, "new", {"Shutdown": heard})
    old = SideCar(messages, "old", {"Shutdown": heard}, version="v1alpha2")
    async with listening(place, new, old) as found:
        await found.collect()
        await found.shutdown()
    assert (new.called, old.called) == (["Shutdown"], [])


async def test_who_does_not_listen_is_named(
    messages: dict[str, Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "COLLECT_WITHIN", 0.5)
    async with listening(place, SideCar(messages, "a", appends(""))):
        with pytest.raises(HookFailed, match=r"^hook-sidecar-1 did not listen"):
            await Hooks(2, str(place)).collect()


async def test_an_unknown_version_is_refused(messages: dict[str, Any], place: Path) -> None:
    side_car = SideCar(messages, "a", appends(""), version="v2")
    async with listening(place, side_car) as found:
        with pytest.raises(HookFailed, match=r"speaks .'v2'., none of v1alpha3"):
            await found.collect()


async def test_the_shim_runs_scripts_for_grpcs_own_client(
    messages: dict[str, Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = place / "bin"
    scripts.mkdir()
    for name, body in (
        ("onDefineDomain", 'test "$1" = --vmi && echo "$4" | sed s/old/new/'),
        ("preCloudInitIso", "echo not today >&2; exit 3"),
    ):
        script = scripts / name
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scripts}:{os.environ['PATH']}")
    folder = place / "hook-sidecar-0"
    folder.mkdir()
    serving = asyncio.ensure_future(shim.run("v1alpha3", str(folder)))
    found = Hooks(1, str(place))
    await found.collect()
    assert await found.define_domain("<old/>", b"{}") == "<new/>\n"
    with pytest.raises(HookFailed, match="preCloudInitIso ended with 3: not today"):
        await found.cloud_init({"UserData": "x"}, b"{}")

    api = messages["v1alpha3"]
    async with grpc.aio.insecure_channel(f"unix:{folder}/shim.sock") as channel:
        method = channel.unary_unary("/kubevirt.hooks.v1alpha3.Callbacks/OnDefineDomain")
        large = b"old" + b"x" * 100_000
        sent = api.OnDefineDomainParams(domainXML=large, vmi=b"{}").SerializeToString()
        answer = await method(sent, timeout=10)
        assert api.OnDefineDomainResult.FromString(answer).domainXML == b"new" + large[3:] + b"\n"
        unknown = channel.unary_unary("/kubevirt.hooks.v1alpha3.Callbacks/Nothing")
        with pytest.raises(grpc.RpcError) as caught:
            await unknown(b"", timeout=10)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    await found.shutdown()
    async with asyncio.timeout(5):
        await serving


def test_messages_are_as_protoc_makes_them(messages: dict[str, Any]) -> None:
    point = messages["info"].HookPoint(name="ü", priority=-7)
    assert protobuf.encode([(1, "ü"), (2, -7)]) == point.SerializeToString()
    read = protobuf.decode(point.SerializeToString())
    assert (protobuf.text(read, 1).decode(), protobuf.number(read, 2)) == ("ü", -7)


@pytest.mark.parametrize("bad", [b"\x0a", b"\x0a\xff\x01x", b"\x0b", b"\xff" * 11, b"\x08"])
def test_what_is_no_message_is_refused(bad: bytes) -> None:
    with pytest.raises(protobuf.Malformed):
        protobuf.decode(bad)
