"""What all servers of this process ask of TLS, changed while they listen.

A context that is exchanged within a handshake brings another certificate and other ciphers, but no
other version: that is the listening context's. So both are changed as they are.

https://docs.openssl.org/master/man3/SSL_set_SSL_CTX/
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from weakref import WeakKeyDictionary

log = logging.getLogger(__name__)

VERSIONS = {
    "VersionTLS10": ssl.TLSVersion.TLSv1_2,
    "VersionTLS11": ssl.TLSVersion.TLSv1_2,
    "VersionTLS12": ssl.TLSVersion.TLSv1_2,
    "VersionTLS13": ssl.TLSVersion.TLSv1_3,
}
"""By Kubernetes' name: what is spoken at least. Older ones than 1.2 are not spoken at all."""
_usual: WeakKeyDictionary[ssl.SSLContext, str] = WeakKeyDictionary()
"""The contexts of servers, each with the ciphers that it began with."""
_required: tuple[str, tuple[str, ...]] = ("", ())


def obeys(context: ssl.SSLContext) -> ssl.SSLContext:
    """Has a server's context follow what is required; returns it."""
    _usual[context] = ":".join(each["name"] for each in context.get_ciphers())
    _change(context)
    return context


def require(minimum: str, ciphers: Sequence[str]) -> None:
    """`minimum`: a name of VERSIONS, or "". `ciphers`: OpenSSL's names of TLS 1.2's suites; empty:
    the usual ones. New connections have it; what OpenSSL cannot make sense of changes nothing."""
    global _required
    wanted = (minimum, tuple(ciphers))
    if wanted == _required:
        return
    before, _required = _required, wanted
    try:
        for context in list(_usual):
            _change(context)
    except ssl.SSLError as error:
        _required = before
        log.warning("these ciphers cannot be had", extra={"error": str(error)})
        for context in list(_usual):
            _change(context)
        return
    log.info("TLS is configured", extra={"minimum": minimum, "ciphers": len(ciphers)})


def _change(context: ssl.SSLContext) -> None:
    minimum, ciphers = _required
    context.set_ciphers(":".join(ciphers) or _usual[context])
    context.minimum_version = VERSIONS.get(minimum, ssl.TLSVersion.TLSv1_2)
