"""virtualmachineinstances/NAME/sev/...: a guest's owner attests its encrypted memory (AMD SEV).

Once it is Scheduled the owner fetches the platform's certificates, makes a session for it and sets
that up; the guest then starts, paused. He compares what the platform has measured, puts his secret
into the guest's memory, and unpauses it.

https://libvirt.org/kbase/launch_security_sev.html
"""

from __future__ import annotations

import binascii
from base64 import b64decode

import msgspec
from aiohttp import web

from virtpod.api.sev import SEVSecretOptions, SEVSessionOptions
from virtpod.api.traits import attested
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.apiserver.call import Call, Outdated
from virtpod.apiserver.status import bad_request
from virtpod.apiserver.subresources._node import forward, paused

GATE = "WorkloadEncryptionSEV"


async def fetch_cert_chain(call: Call) -> web.Response:
    """The platform's certificates, and its key for a session."""
    vmi = await _vmi(call)
    return await _told(call, vmi, "sev/fetchcertchain")


async def query_launch_measurement(call: Call) -> web.Response:
    """What the platform has measured of the guest, which stands still."""
    vmi = await _vmi(call)
    if vmi.status.phase != "Running":
        raise call.vmi_conflict("VMI is not running")
    return await _told(call, vmi, "sev/querylaunchmeasurement")


async def setup_session(call: Call) -> web.Response:
    """Writes the owner's session into the spec: the guest starts with it."""
    options = await call.options(SEVSessionOptions)
    if not options.session:
        raise bad_request("Session blob is required")
    if not options.dh_cert:
        raise bad_request("DH cert is required")
    _plain("session", options.session)
    _plain("dhCert", options.dh_cert)
    vmi = await _vmi(call)
    security = vmi.spec.domain.launch_security
    sev = security and security.sev
    if sev and (sev.session or sev.dh_cert):
        raise call.vmi_conflict("Session already defined")
    if vmi.status.phase != "Scheduled":
        raise call.vmi_conflict("VMI is not in Scheduled phase")
    session = {"session": options.session, "dhCert": options.dh_cert}
    patch = {
        "metadata": {"uid": vmi.metadata.uid, "resourceVersion": vmi.metadata.resource_version},
        "spec": {"domain": {"launchSecurity": {"sev": session}}},
    }
    try:
        await call.site.objects.patch_vmi(call.namespace, call.name, patch, dry_run=False)
    except Outdated:
        raise call.vmi_conflict("the object has been modified; please try again") from None
    return call.done(202)


async def inject_launch_secret(call: Call) -> web.Response:
    """Puts the owner's secret into the memory of the guest, which stands still."""
    options = await call.options(SEVSecretOptions)
    if not options.header:
        raise bad_request("Header is required")
    if not options.secret:
        raise bad_request("Secret is required")
    _plain("header", options.header)
    _plain("secret", options.secret)
    vmi = await _vmi(call)
    if vmi.status.phase != "Running" or not paused(vmi):
        raise call.vmi_conflict("VMI is not paused")
    body = msgspec.json.encode({"header": options.header, "secret": options.secret})
    return await forward(call, vmi, "sev/injectlaunchsecret", body=body)


async def _vmi(call: Call) -> VirtualMachineInstance:
    """Raises Refusal: no gate, no VMI, or nobody wants proof."""
    if GATE not in call.site.cluster().gates:
        raise bad_request(f"'{GATE}' feature gate is not enabled")
    vmi = await call.vmi()
    if not attested(vmi):
        raise bad_request("Attestation not requested for VMI")
    return vmi


async def _told(call: Call, vmi: VirtualMachineInstance, what: str) -> web.Response:
    body = await call.site.nodes.get(vmi, what)
    return web.Response(body=body, content_type="application/json")


def _plain(name: str, value: str) -> None:
    try:
        b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_request(f"{name} is not base64: {error}") from error
