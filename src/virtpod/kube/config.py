"""Where the API server is and who we are: inside a pod, or by a kubeconfig.

The token of a service account is replaced under our feet about hourly, so it is a question asked
per request, not a value kept.

Sources: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import contextlib
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtpod.kube.execauth import ExecToken

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_LOOKED_AT_EVERY = 10.0  # seconds; a token is replaced when 80 % of its life is over


class TokenFile:
    """A token that lives in a file and changes; an unreadable file keeps the last one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.token = path.read_text().strip()
        self.looked = time.monotonic()

    def __call__(self) -> str:
        now = time.monotonic()
        if now - self.looked > TOKEN_LOOKED_AT_EVERY:
            self.looked = now
            # Where it cannot be read the old one may still be good; the server will say if not.
            with contextlib.suppress(OSError):
                self.token = self.path.read_text().strip()
        return self.token


@dataclass
class Config:
    """A server and credentials. `ca_data`, `certificate` and `key` are PEM text."""

    server: str
    token: str | TokenFile | ExecToken = field(default="", repr=False)
    ca_data: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    insecure: bool = False
    server_name: str = ""
    namespace: str = "default"
    impersonated: tuple[tuple[str, str], ...] = ()
    """Headers by which we ask to be taken for somebody else."""

    @staticmethod
    def load(context: str = "", kubeconfig: str = "") -> Config:
        """A kubeconfig that was asked for, else the pod we are in, else the usual kubeconfig."""
        asked = kubeconfig or context or os.environ.get("KUBECONFIG")
        in_pod = (SERVICE_ACCOUNT / "token").exists() and "KUBERNETES_SERVICE_HOST" in os.environ
        if in_pod and not asked:
            return Config.in_cluster()
        return Config.from_kubeconfig(kubeconfig, context)

    @staticmethod
    def in_cluster(account: Path = SERVICE_ACCOUNT) -> Config:
        host = os.environ["KUBERNETES_SERVICE_HOST"]
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        namespace = account / "namespace"
        return Config(
            server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            token=TokenFile(account / "token"),
            ca_data=(account / "ca.crt").read_text(),
            namespace=namespace.read_text().strip() if namespace.exists() else "default",
        )

    @staticmethod
    def from_kubeconfig(path: str = "", context: str = "") -> Config:
        """From a file, or from those that KUBECONFIG names, merged: the first that says it wins."""
        import yaml  # only here: a pod has no use for it

        named = path or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
        files = [Path(name) for name in named.split(os.pathsep) if name]
        found = [(file, yaml.safe_load(file.read_text()) or {}) for file in files if file.exists()]
        if not found:
            raise FileNotFoundError(f"no kubeconfig at {named}; set KUBECONFIG or --kubeconfig")
        context = context or next(
            (text["current-context"] for _, text in found if text.get("current-context")), ""
        )
        base, chosen = _named(found, "contexts", "context", context)
        base, cluster = _named(found, "clusters", "cluster", chosen["cluster"])
        user_base, user = (
            _named(found, "users", "user", chosen["user"]) if chosen.get("user") else (base, {})
        )
        token: str | TokenFile | ExecToken = user.get("token") or ""
        if user.get("tokenFile"):
            token = TokenFile(user_base / user["tokenFile"])
        if user.get("exec"):
            token = ExecToken(user["exec"])
        return Config(
            server=cluster["server"].rstrip("/"),
            token=token,
            ca_data=_pem(cluster, "certificate-authority", base),
            certificate=_pem(user, "client-certificate", user_base),
            key=_pem(user, "client-key", user_base),
            username=user.get("username") or "",
            password=user.get("password") or "",
            insecure=bool(cluster.get("insecure-skip-tls-verify")),
            server_name=cluster.get("tls-server-name") or "",
            namespace=chosen.get("namespace") or "default",
        )

    def authorization(self) -> Mapping[str, str]:
        """The headers that say who we are, if it is not the certificate that says it."""
        return {**self._identity(), **dict(self.impersonated)}

    def _identity(self) -> Mapping[str, str]:
        token = self.token if isinstance(self.token, str) else self.token()
        if token:
            return {"Authorization": f"Bearer {token}"}
        if self.username:
            pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {}

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context, or None for plain http."""
        if not self.server.startswith("https:"):
            return None
        context = ssl.create_default_context(cadata=self.ca_data or None)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            _load_pair(context, self.certificate, self.key)
        return context


def _named(
    found: list[tuple[Path, dict[str, Any]]], listed: str, kind: str, name: str
) -> tuple[Path, dict[str, Any]]:
    """The entry of that name, and the folder that its relative paths are in."""
    for file, text in found:
        for entry in text.get(listed) or ():
            if entry["name"] == name:
                return file.parent, entry.get(kind) or {}
    raise KeyError(f"kubeconfig has no {kind} {name!r}")


def _pem(entry: Mapping[str, Any], name: str, base: Path) -> str:
    if entry.get(f"{name}-data"):
        return base64.b64decode(entry[f"{name}-data"]).decode()
    if entry.get(name):
        return (base / str(entry[name])).read_text()
    return ""


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Python's ssl takes a client's certificate from files only: an anonymous one in memory."""
    handle = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(handle, f"{certificate}\n{key}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)
