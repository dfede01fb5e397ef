"""What a guest's owner asks of AMD SEV before the guest gets a secret, by libvirt.

https://libvirt.org/kbase/launch_security_sev.html
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from virtpod.launcher.hypervisor import Refused
from virtpod.wire.messages import Attest, Attested

PLATFORM, MEASUREMENT, SECRET = "platform", "measurement", "secret"
LOADERS = ("/usr/share/", "/usr/lib/")
"""Where the image has its firmware."""
LARGEST = 32 * 2**20


def done(request: Attest, connection: Any, domain: Callable[[], Any]) -> Attested:
    """Blocks. Raises Refused, libvirtError."""
    match request.what:
        case "platform":
            facts = connection.getSEVInfo(0)
        case "measurement":
            facts = {**domain().launchSecurityInfo(0), "loader-sha": _firmware(domain())}
        case "secret":
            given = {"sev-secret-header": request.header, "sev-secret": request.secret}
            domain().setLaunchSecurityState(given, 0)
            facts = {}
        case _:
            raise Refused(f"nobody attests {request.what!r}")
    return Attested(id=request.id, facts={name: facts[name] for name in sorted(facts)})


def _firmware(domain: Any) -> str:
    """SHA-256 of what the guest boots by, which the owner compares with his own."""
    loader = ElementTree.fromstring(domain.XMLDesc(0)).findtext("os/loader") or ""
    path = Path(loader).resolve()
    if not str(path).startswith(LOADERS) or path.stat().st_size > LARGEST:
        return ""
    return sha256(path.read_bytes()).hexdigest()
