"""The aggregated API as one table: what can be asked for, and the right that it needs.

A request either matches a row exactly or is refused; the row's attributes go into the
SubjectAccessReview as they stand here, never cut out of the URL (CVE-2026-6383: `vnc/screenshot`
was checked as `vnc`). Rights: KubeVirt's cluster roles, `virtualmachines/start` and so on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from virtpod.apiserver.call import Call
from virtpod.apiserver.subresources import (
    addvolume,
    console,
    evacuate_cancel,
    expand_spec,
    filesystemlist,
    freeze,
    guestosinfo,
    later,
    memorydump,
    migrate,
    objectgraph,
    pause,
    portforward,
    removevolume,
    reset,
    restart,
    sev,
    softreboot,
    start,
    stop,
    unfreeze,
    unpause,
    usbredir,
    userlist,
    vnc,
    vsock,
)

GROUP = "subresources.kubevirt.io"
VERSIONS = ("v1", "v1alpha3")
VMS = "virtualmachines"
VMIS = "virtualmachineinstances"

NAMESPACE = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
NAME = "[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?"
"""DNS names: nothing that needs percent-encoding matches, so a path has one reading only."""

Handle = Callable[[Call], Awaitable[web.StreamResponse]]

_VERBS = {"GET": "get", "PUT": "update"}


@dataclass(frozen=True)
class Attributes:
    """What a SubjectAccessReview asks for, beside the object's namespace and name."""

    verb: str
    resource: str
    subresource: str


@dataclass(frozen=True)
class Route:
    """`path` follows the object's name; it is a pattern only where a parameter is in it. Empty:
    there is no object, the resource itself is asked for."""

    method: str
    resource: str
    path: str
    subresource: str
    handle: Handle

    @property
    def is_later(self) -> bool:
        """Whether it is only known by name."""
        tables = {VMS: later.VM_LATER, VMIS: later.VMI_LATER}
        return (self.method, self.path) in tables.get(self.resource, {})

    @property
    def attributes(self) -> Attributes:
        return Attributes(_VERBS[self.method], self.resource, self.subresource)

    def pattern(self, version: str) -> str:
        """aiohttp's route."""
        base = f"/apis/{GROUP}/{version}/namespaces/{{namespace:{NAMESPACE}}}/{self.resource}"
        return f"{base}/{{name:{NAME}}}/{self.path}" if self.path else base

    @property
    def full(self) -> str:
        """As discovery and users' rights have it: `virtualmachines/start`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


CLUSTER = ("start-cluster-profiler", "stop-cluster-profiler", "dump-cluster-profiler")
"""What is of no object and no namespace, and needs a right: GET."""

_PORT = "portforward/{port:[0-9]{1,5}}"
_PORT_OF_PROTOCOL = _PORT + "/{protocol:tcp|udp}"

ROUTES: tuple[Route, ...] = (
    Route("PUT", VMS, "start", "start", start.vm),
    Route("PUT", VMS, "stop", "stop", stop.vm),
    Route("PUT", VMS, "restart", "restart", restart.vm),
    Route("PUT", VMS, "migrate", "migrate", migrate.vm),
    Route("PUT", VMS, "evacuate/cancel", "evacuate/cancel", evacuate_cancel.vm),
    Route("PUT", VMIS, "evacuate/cancel", "evacuate/cancel", evacuate_cancel.vmi),
    Route("PUT", VMS, "addvolume", "addvolume", addvolume.vm),
    Route("PUT", VMS, "removevolume", "removevolume", removevolume.vm),
    Route("PUT", VMIS, "addvolume", "addvolume", addvolume.vmi),
    Route("PUT", VMIS, "removevolume", "removevolume", removevolume.vmi),
    Route("PUT", VMS, "memorydump", "memorydump", memorydump.vm),
    Route("PUT", VMS, "removememorydump", "removememorydump", memorydump.remove),
    Route("GET", VMS, _PORT, "portforward", portforward.vm),
    Route("GET", VMS, _PORT_OF_PROTOCOL, "portforward", portforward.vm),
    Route("GET", VMIS, "console", "console", console.vmi),
    Route("GET", VMIS, "vnc", "vnc", vnc.vmi),
    Route("GET", VMIS, "vnc/screenshot", "vnc/screenshot", vnc.screenshot),
    Route("GET", VMIS, "usbredir", "usbredir", usbredir.vmi),
    Route("GET", VMIS, "vsock", "vsock", vsock.vmi),
    Route("PUT", VMIS, "pause", "pause", pause.vmi),
    Route("PUT", VMIS, "unpause", "unpause", unpause.vmi),
    Route("PUT", VMIS, "reset", "reset", reset.vmi),
    Route("PUT", VMIS, "softreboot", "softreboot", softreboot.vmi),
    Route("PUT", VMIS, "freeze", "freeze", freeze.vmi),
    Route("PUT", VMIS, "unfreeze", "unfreeze", unfreeze.vmi),
    Route("GET", VMIS, "guestosinfo", "guestosinfo", guestosinfo.vmi),
    Route("GET", VMIS, "userlist", "userlist", userlist.vmi),
    Route("GET", VMIS, "filesystemlist", "filesystemlist", filesystemlist.vmi),
    Route("GET", VMIS, "sev/fetchcertchain", "sev/fetchcertchain", sev.fetch_cert_chain),
    Route(
        "GET",
        VMIS,
        "sev/querylaunchmeasurement",
        "sev/querylaunchmeasurement",
        sev.query_launch_measurement,
    ),
    Route("PUT", VMIS, "sev/setupsession", "sev/setupsession", sev.setup_session),
    Route(
        "PUT", VMIS, "sev/injectlaunchsecret", "sev/injectlaunchsecret", sev.inject_launch_secret
    ),
    Route("GET", VMIS, _PORT, "portforward", portforward.vmi),
    Route("GET", VMIS, _PORT_OF_PROTOCOL, "portforward", portforward.vmi),
    Route("GET", VMS, "expand-spec", "expand-spec", expand_spec.vm),
    Route("GET", VMS, "objectgraph", "objectgraph", objectgraph.vm),
    Route("GET", VMIS, "objectgraph", "objectgraph", objectgraph.vmi),
    Route("PUT", "expand-vm-spec", "", "", expand_spec.given),
    *(
        Route(method, VMS, path, path, later.vm(text))
        for (method, path), text in later.VM_LATER.items()
    ),
    *(
        Route(method, VMIS, path, path, later.vmi(text))
        for (method, path), text in later.VMI_LATER.items()
    ),
)
