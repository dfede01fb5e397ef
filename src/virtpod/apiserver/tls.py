"""TLS contexts that follow their files: certificates are rotated while connections stay open.

Nothing watches the files. Each new connection looks whether they have changed (a few `stat`
calls), and a server's context is exchanged during the handshake, in the callback that Python
offers for SNI; it is called whether or not the client names a server. The new context brings the
certificate and the CA that clients are verified against:
https://docs.python.org/3/library/ssl.html#ssl.SSLContext.sni_callback

Session tickets are off: a resumed session would bring back a client certificate that was verified
against an older CA.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from virtpod.kube.tls import obeys

log = logging.getLogger(__name__)


class Followed:
    """A context that `make` builds from `files` and from `extra()`, built again when they change.

    A build that fails (a file half written) leaves the last good context in use.
    """

    def __init__(
        self,
        make: Callable[[], ssl.SSLContext],
        files: tuple[Path, ...],
        extra: Callable[[], object] = lambda: None,
    ) -> None:
        self._make = make
        self._files = files
        self._extra = extra
        self._seen: object = self._look()
        self._context = make()

    def context(self) -> ssl.SSLContext:
        """The context for a new connection."""
        seen = self._look()
        if seen != self._seen:
            try:
                self._context = self._make()
                self._seen = seen
                log.info("certificates loaded anew")
            except (OSError, ValueError) as error:
                log.warning("certificates cannot be loaded", extra={"error": str(error)})
        return self._context

    def _look(self) -> object:
        return [_identity(file) for file in self._files], self._extra()


def _identity(file: Path) -> tuple[int, int, int] | None:
    try:
        stat = os.stat(file)
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def pair(folder: Path) -> tuple[Path, Path]:
    """Certificate and key of a mounted TLS secret."""
    return folder / "tls.crt", folder / "tls.key"


def serving(folder: Path, client_ca: Callable[[], str]) -> ssl.SSLContext:
    """The server's context: certificate from `folder`, client certificates optional, but if sent
    then issued by `client_ca()` (PEM; empty: none is accepted)."""
    certificate, key = pair(folder)

    def make() -> ssl.SSLContext:
        context = _server()
        context.load_cert_chain(certificate, key)
        if ca := client_ca():
            context.load_verify_locations(cadata=ca)
        return obeys(context)

    followed = Followed(make, (certificate, key), client_ca)

    def exchange(connection: ssl.SSLObject, _name: str | None, _context: Any) -> None:
        connection.context = followed.context()

    front = make()
    front.sni_callback = exchange
    return front


def _server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context
