"""GET virtualmachineinstances/NAME/vsock: a connection to a port in the guest, without a network.

?port=N, and ?tls=false for programs that do not speak it.
"""

from __future__ import annotations

from aiohttp import web

from virtpod.apiserver.call import Call
from virtpod.apiserver.relay import check, relay
from virtpod.apiserver.status import bad_request

LARGEST_PORT = 2**32 - 2


async def vmi(call: Call) -> web.StreamResponse:
    """The guest's program is told by our certificate who calls."""
    vmi = await call.vmi()
    port, tls = call.request.query.get("port", ""), call.request.query.get("tls", "true")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:11]) <= LARGEST_PORT):
        raise bad_request("port must be a number from 1 to 4294967294: ?port=N")
    if tls not in ("true", "false"):
        raise bad_request("tls must be true or false")
    if not vmi.spec.domain.devices.autoattach_vsock or not vmi.status.vsockcid:
        raise bad_request("VSOCK is not attached.")
    if vmi.status.phase != "Running":
        raise call.vmi_conflict("VMI is not running")
    check(call.request)
    asked = {"port": port, "tls": tls}
    return await relay(call.request, await call.site.nodes.stream(vmi, "vsock", asked))
