"""VirtualMachineExports: making one, waiting for its server, and downloading from that.

https://kubevirt.io/user-guide/storage/export_api/
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import secrets
import ssl
import string
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

from virtpod.cli.session import Failure, Session

Json = dict[str, Any]
TOKEN = "x-kubevirt-export-token"
LETTERS = string.ascii_letters + string.digits
PERIOD = 2.0
"""Seconds between two looks at an export."""
SOON = 60.0
"""Seconds that a server has for each answer and each piece of it."""
PIECE = 1 << 20
COMPRESSED, PLAIN = ("gzip", "tar.gz"), "raw"
HTTPS = 443


class Transient(Failure):
    """What may be otherwise the next time."""


@dataclass(frozen=True)
class Wanted:
    """What a download is to be."""

    volume: str = ""
    raw: bool = False
    """Unpacked here, where the server has it compressed only."""
    service: str = ""
    """HOST:PORT that stands for the export's service; empty: by the external links."""
    insecure: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


async def create(session: Session, name: str, source: Json, ttl: str = "", **metadata: Any) -> None:
    """An export and the secret with its token. Raises AlreadyExists, ApiError."""
    from virtpod.kube.errors import AlreadyExists
    from virtpod.kube.resources import EXPORTS, SECRETS

    secret = f"secret-{name}"
    spec = {"tokenSecretRef": secret, "source": source, **({"ttlDuration": ttl} if ttl else {})}
    where = {"name": name, "namespace": session.namespace}
    made = await session.client.create(EXPORTS, {"metadata": {**where, **metadata}, "spec": spec})
    token = "".join(secrets.choice(LETTERS) for _ in range(20))
    owner = {
        "apiVersion": EXPORTS.api_version,
        "kind": EXPORTS.kind,
        "name": name,
        "uid": made["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    body = {
        "metadata": {**where, "name": secret, "ownerReferences": [owner]},
        "type": "Opaque",
        "data": {"token": base64.b64encode(token.encode()).decode()},
    }
    try:
        await session.client.create(SECRETS, body)
    except AlreadyExists:
        return


async def delete(session: Session, name: str) -> bool:
    """Whether there was one. Raises ApiError."""
    from virtpod.kube.errors import NotFound
    from virtpod.kube.resources import EXPORTS

    try:
        await session.client.delete(EXPORTS, (session.namespace, name))
    except NotFound:
        return False
    return True


async def ready(
    session: Session, name: str, within: float, side: Literal["external", "internal", "service"]
) -> Json:
    """The export, once it is Ready and has what is needed: links, or a service. Raises Failure."""
    from virtpod.kube.errors import NotFound
    from virtpod.kube.resources import EXPORTS

    lacks = "it is not there"
    try:
        async with asyncio.timeout(within):
            while True:
                try:
                    found = await session.client.get(EXPORTS, (session.namespace, name))
                except NotFound:
                    lacks = "it is not there"
                else:
                    lacks = _lacks(found, side)
                if not lacks:
                    return found
                print(f"waiting for VM Export {name}: {lacks}...", file=sys.stderr)
                await asyncio.sleep(PERIOD)
    except TimeoutError:
        raise Failure(
            f"VirtualMachineExport {session.namespace}/{name} is not ready after {within:g} s: "
            f"{lacks}; --readiness-timeout waits longer"
        ) from None


def _lacks(export: Json, side: str) -> str:
    """What an export still needs; empty where nothing. Raises Failure where that never comes."""
    status = export.get("status") or {}
    for each in status.get("conditions") or ():
        if each.get("type") == "Ready" and each.get("reason") == "NotImplemented":
            raise Failure(f"nothing serves exports here: {each.get('message') or 'NotImplemented'}")
    phase = status.get("phase")
    if phase in ("Terminated", "Skipped"):
        raise Failure(f"the export is {phase}: {_told(status)}")
    if phase != "Ready":
        return f"its phase is {phase or 'not set'}{_reasons(status)}"
    if side == "service":
        return "" if status.get("serviceName") else "it has no service yet"
    return "" if (status.get("links") or {}).get(side) else f"it has no {side} links yet"


def _told(status: Json) -> str:
    said = (each.get("message") or each.get("reason") for each in status.get("conditions") or ())
    return "; ".join(filter(None, said)) or "no reason given"


def _reasons(status: Json) -> str:
    said = {each.get("reason") for each in status.get("conditions") or ()} - {None, ""}
    return f" ({', '.join(sorted(said))})" if said else ""


def volume(export: Json, wanted: Wanted) -> tuple[str, bool]:
    """The URL of a volume, and whether what it gives is compressed. Raises Failure."""
    where = f"{export['metadata'].get('namespace')}/{export['metadata']['name']}"
    volumes = _links(export, wanted).get("volumes") or []
    if not volumes:
        raise Failure(f"unable to access the volume info from '{where}' VirtualMachineExport")
    names = [each["name"] for each in volumes]
    if len(names) > 1 and not wanted.volume:
        raise Failure(
            f"detected more than one downloadable volume in '{where}' VirtualMachineExport: "
            f"Select the expected volume using the --volume flag: {', '.join(names)}"
        )
    found = [each for each in volumes if each["name"] == (wanted.volume or names[0])]
    if not found:
        raise Failure(f"'{where}' exports no volume {wanted.volume}; there is {', '.join(names)}")
    urls = {each["format"]: each["url"] for each in found[0].get("formats") or ()}
    for kind in (*COMPRESSED, PLAIN):
        if kind in urls:
            return _at(urls[kind], wanted.service), kind in COMPRESSED
    raise Failure(f"unable to get a valid URL from '{where}' VirtualMachineExport")


def manifests(export: Json, wanted: Wanted) -> dict[str, str]:
    """URLs by type. Raises Failure."""
    found = _links(export, wanted).get("manifests") or ()
    urls = {each["type"]: _at(each["url"], wanted.service) for each in found}
    if "all" not in urls:
        raise Failure(
            f"unable to access the manifest info from '{export['metadata']['name']}' "
            "VirtualMachineExport: a claim has none"
        )
    return urls


def _links(export: Json, wanted: Wanted) -> Json:
    links = (export.get("status") or {}).get("links") or {}
    return links.get("internal" if wanted.service else "external") or {}


def _at(url: str, service: str) -> str:
    """With another host and port, where one stands for the export's."""
    return urllib.parse.urlsplit(url)._replace(netloc=service).geturl() if service else url


async def token(session: Session, export: Json) -> str:
    """Raises Failure, ApiError."""
    from virtpod.kube.resources import SECRETS

    given = export.get("status") or {}
    name = given.get("tokenSecretRef") or export["spec"].get("tokenSecretRef")
    if not name:
        raise Failure("the export names no secret with its token")
    found = await session.client.get(SECRETS, (session.namespace, name))
    data = (found.get("data") or {}).get("token")
    if not data:
        raise Failure(f"secret {name} has no token")
    return base64.b64decode(data).decode()


async def fetch(
    session: Session, export: Json, url: str, wanted: Wanted, into: BinaryIO, *, unpack: bool
) -> None:
    """Raises Failure, ApiError."""
    certificates = _links(export, wanted).get("cert") or ""
    headers = {TOKEN: await token(session, export), **wanted.headers}
    context = _context(certificates, insecure=wanted.insecure)
    stop = threading.Event()
    try:
        await asyncio.to_thread(_copy, url, headers, context, into, unpack, stop)
    finally:
        stop.set()  # the thread outlives its caller otherwise, who was interrupted


def _context(certificates: str, *, insecure: bool) -> ssl.SSLContext:
    """Raises Failure."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif certificates:
        try:
            context.load_verify_locations(cadata=certificates)
        except ssl.SSLError as error:
            raise Failure(f"the export's certificates cannot be read: {error}") from error
    return context


def _copy(
    url: str,
    headers: Mapping[str, str],
    context: ssl.SSLContext,
    into: BinaryIO,
    unpack: bool,
    stop: threading.Event,
) -> None:
    """Raises Failure."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if unpack else None
    progress = Progress()
    try:
        with opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=SOON) as reply:
            while (piece := reply.read1(PIECE)) and not stop.is_set():
                progress.add(len(piece))
                into.write(unpacker.decompress(piece) if unpacker else piece)
            expected = reply.length
    except urllib.error.HTTPError as error:
        raise Transient(f"Bad status: {error.code} {error.reason}") from error
    except ssl.SSLError as error:
        raise Failure(f"{url}: {error}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            raise Failure(f"{url}: {reason}; --insecure believes any certificate") from error
        raise Transient(f"{url}: {reason}") from error
    except zlib.error as error:
        raise Failure(f"{url} is not compressed by gzip: {error}") from error
    except OSError as error:
        raise Failure(f"the download stopped: {error.strerror or error}") from error
    if expected:
        raise Transient(f"{url}: the connection broke off {expected} bytes before the end")
    if unpacker is not None and not unpacker.eof:
        raise Transient(f"{url}: the compressed data broke off")
    progress.end()


class Progress:
    """Tells somebody at a terminal how far a download is."""

    def __init__(self) -> None:
        self.total = 0
        self.began = self.told = time.monotonic()
        self.seen = sys.stderr.isatty()

    def add(self, count: int) -> None:
        self.total += count
        now = time.monotonic()
        if self.seen and now - self.told >= 1:
            self.told = now
            rate = self.total / (now - self.began) / 2**20
            done = self.total / 2**20
            print(f"\rDownloading file: {done:.0f} MiB, {rate:.1f} MiB/s ", end="", file=sys.stderr)

    def end(self) -> None:
        if self.seen:
            print(file=sys.stderr)


@asynccontextmanager
async def pod_of(session: Session, export: Json, local: int) -> AsyncIterator[str]:
    """127.0.0.1:PORT, which leads to the pod behind the export's service. Raises Failure."""
    from virtpod.cli._pod_port import forwarded
    from virtpod.kube.resources import PODS, SERVICES, Key

    name = export["status"]["serviceName"]
    service = await session.client.get(SERVICES, (session.namespace, name))
    selector = (service["spec"].get("selector") or {}).items()
    labels = ",".join(f"{key}={value}" for key, value in selector)
    pods = (await session.client.list(PODS, namespace=session.namespace, labels=labels)).items
    if not labels or not pods:
        raise Failure(f"no pods found for the service {name}")
    port = _port(service, pods[0])
    pod = Key(session.namespace, pods[0]["metadata"]["name"])
    async with forwarded(session.client, pod, port, local) as at:
        yield f"127.0.0.1:{at}"


def _port(service: Json, pod: Json) -> int:
    """That of the pod's which the service's port for HTTPS means. Raises Failure."""
    for each in service["spec"].get("ports") or ():
        if each.get("port") != HTTPS:
            continue
        meant = each.get("targetPort") or HTTPS
        if isinstance(meant, int):
            return meant
        for container in pod["spec"]["containers"]:
            for port in container.get("ports") or ():
                if port.get("name") == meant:
                    return int(port["containerPort"])
    raise Failure(f"the service {service['metadata']['name']} has no port {HTTPS} that a pod has")
