"""A hook side-car beside a real guest, by grpc's own server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from tests.guest.pod import Container, Serial, connected
from virtpod.domain import paths
from virtpod.wire.messages import Done, Failed
from virtpod.wire.protobuf import decode, encode, text

API = "/kubevirt.hooks.v1alpha3.Callbacks/"


class SideCar(grpc.GenericRpcHandler):
    """Refuses once, then changes the machine's maker and its host name."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method.removeprefix(API)

        def answer(request: bytes, context: Any) -> bytes:
            self.called.append(method)
            fields = decode(request)
            match method:
                case "/kubevirt.hooks.info.Info/Info":
                    hooks = ("OnDefineDomain", "PreCloudInitIso", "Shutdown")
                    points = [(3, encode([(1, hook)])) for hook in hooks]
                    return encode([(1, "maker"), *points, (4, "v1alpha3")])
                case "OnDefineDomain":
                    if self.called.count(method) == 1:
                        context.abort(grpc.StatusCode.INTERNAL, "not on a Sunday")
                    xml = text(fields, 1)
                    assert b">KubeVirt<" in xml
                    assert b'"name":"vm"' in text(fields, 2)
                    return encode([(1, xml.replace(b">KubeVirt<", b">Hook Works<"))])
                case "PreCloudInitIso":
                    told = text(fields, 3)
                    assert b'"DataSource":"noCloud"' in told
                    return encode([(3, told.replace(b"from-cloud-init", b"from-the-hook"))])
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


async def test_a_side_car_refuses_changes_domain_and_cloud_init_and_hears_of_the_end(
    box: Container, cache: dict[str, bytes], vmi: dict[str, Any]
) -> None:
    folder = box.inside(paths.hook_folder(0))
    folder.mkdir(parents=True)
    side_car = SideCar()
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((side_car,))
    server.add_insecure_port(f"unix:{folder}/maker.sock")
    server.start()
    (folder / "maker.sock").chmod(0o777)
    try:
        box.launch("--hook-sidecars", "1")
        async with connected(box, cache) as handler:
            refused = await handler.sync(vmi)
            assert isinstance(refused, Failed)
            assert refused.reason == "HookFailed"
            assert "side-car maker (hook-sidecar-0): not on a Sunday" in refused.message
            assert not refused.final

            assert isinstance(await handler.sync(vmi), Done)
            console = await Serial.of(box)
            await console.until("from-the-hook login: ")
            await console.log_in()
            vendor = await console.answer("cat /sys/class/dmi/id/sys_vendor")
            assert vendor.strip() == "Hook Works"
            console.say("poweroff -f")
            await handler.domain("Shutoff")
            assert "Shutdown" not in side_car.called
            await handler.release()
            assert await box.exit_code(20) == 0
        assert side_car.called[-1] == "Shutdown"
    finally:
        server.stop(None)
