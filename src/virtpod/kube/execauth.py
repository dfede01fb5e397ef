"""Tokens from a credential plugin, as clusters of cloud vendors want them (virtctl only).

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

DEADLINE = 60.0  # seconds; some plugins open a browser
SPARE = datetime.timedelta(seconds=30)


class ExecToken:
    """Runs the plugin when asked first, and again when its token is about to expire."""

    def __init__(self, plugin: Mapping[str, Any]) -> None:
        self.plugin = plugin
        self.token = ""
        self.expires: datetime.datetime | None = None

    def __call__(self) -> str:
        now = datetime.datetime.now(datetime.UTC)
        if self.token and (self.expires is None or now + SPARE < self.expires):
            return self.token
        status = self._run()
        self.token = status.get("token") or ""
        expires = status.get("expirationTimestamp")
        self.expires = datetime.datetime.fromisoformat(expires) if expires else None
        return self.token

    def _run(self) -> dict[str, Any]:
        asked = {
            "apiVersion": self.plugin.get("apiVersion") or "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
        named = {entry["name"]: entry["value"] for entry in self.plugin.get("env") or ()}
        answer = subprocess.run(
            [self.plugin["command"], *(self.plugin.get("args") or ())],
            env={**os.environ, **named, "KUBERNETES_EXEC_INFO": json.dumps(asked)},
            stdout=subprocess.PIPE,
            timeout=DEADLINE,
            check=True,
        )
        status: dict[str, Any] = json.loads(answer.stdout).get("status") or {}
        return status
