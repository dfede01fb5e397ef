"""Who is calling the aggregated API: the identity that the front proxy vouches for.

kube-apiserver authenticates the user and passes the name on in headers, over a connection that
it proves to be its own by a client certificate. The certificate must come from the requestheader
CA *and* bear an allowed common name: without the second check anybody holding a certificate of
that CA could claim to be anybody (CVE-2025-64432).
https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from virtpod.apiserver.status import Refusal, unauthorized

CONFIG_NAMESPACE = "kube-system"
CONFIG_NAME = "extension-apiserver-authentication"


_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class User:
    """An authenticated user, as SubjectAccessReview wants it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class FrontProxy:
    """What kube-system/extension-apiserver-authentication says; nothing known: nobody passes."""

    ca: str = ""
    """PEM, for the TLS layer."""
    allowed_names: tuple[str, ...] = ()
    any_name: bool = False
    """The list of allowed names is empty and the CA signs nothing but front proxies."""
    user_headers: tuple[str, ...] = ("X-Remote-User",)
    uid_headers: tuple[str, ...] = ("X-Remote-Uid",)
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)


def config(data: Mapping[str, str]) -> FrontProxy:
    """Reads the ConfigMap's data. A value that cannot be read counts as absent."""
    ca = data.get("requestheader-client-ca-file", "")
    names = _names(data, "requestheader-allowed-names")
    # Kubernetes lets an empty list mean "every name". That is safe only where the CA is not also
    # the one that signs ordinary users' certificates.
    shared = set(_PEM.findall(ca)) & set(_PEM.findall(data.get("client-ca-file", "")))
    return FrontProxy(
        ca=ca,
        allowed_names=names,
        any_name=bool(ca) and not names and not shared,
        user_headers=_names(data, "requestheader-username-headers") or FrontProxy.user_headers,
        uid_headers=_names(data, "requestheader-uid-headers") or FrontProxy.uid_headers,
        group_headers=_names(data, "requestheader-group-headers") or FrontProxy.group_headers,
        extra_prefixes=_names(data, "requestheader-extra-headers-prefix")
        or FrontProxy.extra_prefixes,
    )


def user(
    proxy: FrontProxy, peer: Mapping[str, Any] | None, headers: Iterable[tuple[str, str]]
) -> User:
    """The user a request is made for.

    `peer`: the client certificate as `ssl.SSLObject.getpeercert()` gives it, already verified
    against `proxy.ca` by TLS; None or empty where there was none. Raises Refusal (401).
    """
    if not proxy.ca or not peer or not _allowed(proxy, peer):
        raise _unauthenticated()
    pairs = [(name.lower(), value) for name, value in headers]
    name = _first(pairs, proxy.user_headers)
    if not name:
        raise _unauthenticated()
    return User(
        name=name,
        uid=_first(pairs, proxy.uid_headers),
        groups=_all(pairs, proxy.group_headers),
        extra=_extra(pairs, proxy.extra_prefixes),
    )


def _unauthenticated() -> Refusal:
    return unauthorized("request is not authenticated")


def _allowed(proxy: FrontProxy, peer: Mapping[str, Any]) -> bool:
    names = [
        value for part in peer.get("subject", ()) for key, value in part if key == "commonName"
    ]
    # A subject with two common names is a trick, not a front proxy.
    if len(names) != 1:
        return False
    return proxy.any_name or names[0] in proxy.allowed_names


def _names(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    try:
        value = json.loads(data.get(key, "[]"))
    except ValueError:
        return ()
    if not isinstance(value, list):
        return ()
    return tuple(name for name in value if isinstance(name, str) and name)


def _first(pairs: list[tuple[str, str]], headers: tuple[str, ...]) -> str:
    for header in headers:
        for name, value in pairs:
            if name == header.lower() and value:
                return value
    return ""


def _all(pairs: list[tuple[str, str]], headers: tuple[str, ...]) -> tuple[str, ...]:
    for header in headers:
        values = tuple(value for name, value in pairs if name == header.lower())
        if values:
            return values
    return ()


def _extra(pairs: list[tuple[str, str]], prefixes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    extra: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        for prefix in prefixes:
            if name.startswith(prefix.lower()):
                key = urllib.parse.unquote(name[len(prefix) :])
                extra[key] = (*extra.get(key, ()), value)
    return extra
