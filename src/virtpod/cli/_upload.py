"""Uploads by CDI: the volume, its server, a token, the bytes."""

from __future__ import annotations

import asyncio
import http.client
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from virtpod.cli.image_upload import ANNOTATIONS, NO_CDI, PERIOD
from virtpod.cli.session import Failure, Session
from virtpod.kube import errors
from virtpod.kube.resources import DATA_SOURCES, DATA_VOLUMES, PVCS, Key, Resource

Json = dict[str, Any]
CONFIG = Resource("cdi.kubevirt.io", "v1beta1", "cdiconfigs", "CDIConfig", namespaced=False)
TOKENS = Resource("upload.cdi.kubevirt.io", "v1beta1", "uploadtokenrequests", "UploadTokenRequest")
KINDS = {"dv": DATA_VOLUMES, "pvc": PVCS}
WAYS = ("/v1beta1/upload-async", "/v1beta1/upload")
"""The first one answers before the image is unpacked; an old CDI has the second alone."""
PIECE = 1 << 20
SOON = 60.0
"""Seconds that the server has for each piece and for its answer."""


class Transient(Failure):
    """What may be otherwise the next time."""


async def proxy(session: Session, url: str) -> str:
    """Where images go. Raises Failure."""
    if not url:
        try:
            config = await session.client.get(CONFIG, ("", "config"))
        except errors.NotFound:
            raise Failure(NO_CDI) from None
        url = (config.get("status") or {}).get("uploadProxyURL") or ""
    if not url:
        raise Failure("CDI says no address of its upload proxy: --uploadproxy-url names one")
    return (url if "://" in url else f"https://{url}").rstrip("/")


async def create(session: Session, key: Key, kind: str, made: Json) -> None:
    """Raises Failure."""
    try:
        await session.client.create(KINDS[kind], made, namespace=key.namespace)
    except errors.AlreadyExists:
        raise Failure(f"{KINDS[kind].kind} {key} is there already: --no-create uses it") from None
    except errors.NotFound:
        raise Failure(NO_CDI) from None
    except errors.ApiError as error:
        raise Failure(f"cannot create {KINDS[kind].kind} {key}: {error.message}") from error


async def there(session: Session, key: Key, kind: str) -> None:
    """That there is one which waits for an upload. Raises Failure."""
    try:
        found = await session.client.get(KINDS[kind], key)
    except errors.NotFound:
        raise Failure(f"there is no {KINDS[kind].kind} {key}: leave --no-create out") from None
    notes = found["metadata"].get("annotations") or {}
    source = (found.get("spec") or {}).get("source") or {}
    wants = "upload" in source if kind == "dv" else ANNOTATIONS["target"] in notes
    if not wants:
        raise Failure(f"{KINDS[kind].kind} {key} is not one for uploads")
    if _phase(found) == "Succeeded" or _note(found, "phase") == "Succeeded":
        raise Failure(f"{KINDS[kind].kind} {key} has its image already")


async def ready(session: Session, key: Key, within: float) -> None:
    """Once CDI's server for the volume is there. Raises Failure."""

    def so(claim: Json | None, volume: Json | None) -> bool:
        return _note(claim, "ready") == "true" or _phase(volume) == "UploadReady"

    await _until(session, key, so, within, "no server for the upload came up")


async def processed(session: Session, key: Key, within: float) -> None:
    """Once the image is in the volume. Raises Failure."""

    def so(claim: Json | None, volume: Json | None) -> bool:
        return _note(claim, "phase") == "Succeeded" or _phase(volume) == "Succeeded"

    await _until(session, key, so, within, "the image is not unpacked yet")


async def _until(
    session: Session,
    key: Key,
    so: Callable[[Json | None, Json | None], bool],
    within: float,
    what: str,
) -> None:
    """Raises Failure."""
    volume: Json | None = None
    try:
        async with asyncio.timeout(within):
            while True:
                claim = await _found(session, PVCS, key)
                volume = await _found(session, DATA_VOLUMES, key)
                if so(claim, volume):
                    return
                if _phase(volume) == "Failed":
                    raise Failure(f"DataVolume {key} failed")
                await asyncio.sleep(PERIOD)
    except TimeoutError:
        phase = f"; DataVolume {key} is {_phase(volume)}" if volume else ""
        hint = "; --force-bind waits for no pod" if _phase(volume) == "WaitForFirstConsumer" else ""
        raise Failure(f"{what} within {within:g} s{phase}{hint}") from None


async def _found(session: Session, resource: Resource, key: Key) -> Json | None:
    try:
        return await session.client.get(resource, key)
    except errors.NotFound:
        return None


def _note(obj: Json | None, name: str) -> str:
    notes = ((obj or {}).get("metadata") or {}).get("annotations") or {}
    return str(notes.get(ANNOTATIONS[name]) or "")


def _phase(volume: Json | None) -> str:
    return str(((volume or {}).get("status") or {}).get("phase") or "")


async def token(session: Session, key: Key) -> str:
    """Raises Failure."""
    body = {"metadata": {"name": "token-for-virtctl"}, "spec": {"pvcName": key.name}}
    try:
        made = await session.client.create(TOKENS, body, namespace=key.namespace)
    except errors.ApiError as error:
        raise Failure(f"CDI gives no token for PVC {key}: {error.message or error}") from error
    return str(made["status"]["token"])


async def send(url: str, token: str, file: Path, *, insecure: bool) -> None:
    """Raises Failure."""
    stop = threading.Event()
    try:
        await asyncio.to_thread(_send, url, token, file, insecure, stop)
    finally:
        stop.set()  # the thread outlives its caller otherwise, who was interrupted


def _send(url: str, token: str, file: Path, insecure: bool, stop: threading.Event) -> None:
    """Raises Failure."""
    parts = urllib.parse.urlsplit(url)
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}

    def connection() -> http.client.HTTPConnection:
        at, port = parts.hostname or "", parts.port
        if parts.scheme == "http":
            return http.client.HTTPConnection(at, port, timeout=SOON)
        return http.client.HTTPSConnection(at, port, timeout=SOON, context=context)

    try:
        way = next((way for way in WAYS[:-1] if _has(connection(), parts.path + way)), WAYS[-1])
        with file.open("rb") as content:
            length = str(file.stat().st_size)
            asked = connection()
            try:
                asked.request(
                    "POST",
                    parts.path + way,
                    _pieces(content, stop),
                    {**headers, "Content-Length": length},
                )
                reply = asked.getresponse()
                said = reply.read(2000).decode(errors="replace").strip()
            finally:
                asked.close()
    except ssl.SSLError as error:
        raise Failure(f"{url}: {error}; --insecure believes any certificate") from error
    except (OSError, http.client.HTTPException) as error:
        raise Transient(f"{url}: {error}") from error
    if reply.status >= 500:
        raise Transient(f"the server answered {reply.status} {reply.reason}: {said}")
    if reply.status != 200:
        raise Failure(f"the server answered {reply.status} {reply.reason}: {said}")


def _has(asked: http.client.HTTPConnection, path: str) -> bool:
    try:
        asked.request("HEAD", path)
        return asked.getresponse().status != 404
    finally:
        asked.close()


def _pieces(content: Any, stop: threading.Event) -> Iterator[bytes]:
    while (piece := content.read(PIECE)) and not stop.is_set():
        yield piece


async def data_source(session: Session, key: Key, labels: dict[str, str]) -> None:
    """That others make machines of the volume. Raises Failure."""
    source = {"pvc": {"namespace": key.namespace, "name": key.name}}
    body = {"metadata": {"name": key.name, "labels": labels}, "spec": {"source": source}}
    try:
        await session.client.create(DATA_SOURCES, body, namespace=key.namespace)
    except errors.ApiError as error:
        raise Failure(f"cannot create DataSource {key}: {error.message or error}") from error
