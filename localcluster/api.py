"""Just enough of a Kubernetes client for the starter, which may use the standard library only."""

import base64
import http.client
import json
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Object = dict[str, Any]


class Refused(Exception):
    """The API server answered, and not with success."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Api:
    """Requests as the user of a kubeconfig that `certs.py` wrote; one connection each."""

    def __init__(self, kubeconfig: Path, *, timeout: float = 10.0) -> None:
        document = json.loads(kubeconfig.read_text())
        cluster = document["clusters"][0]["cluster"]
        user = document["users"][0]["user"]
        address = urlsplit(cluster["server"])
        self._host, self._port = address.hostname or "", address.port or 443
        self._timeout = timeout
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pair:  # ssl takes the pair from a file only
            for part in ("client-certificate-data", "client-key-data"):
                pair.write(base64.b64decode(user[part]))
            pair.flush()
            self._tls.load_cert_chain(pair.name)

    def get(self, path: str) -> Object:
        return self._json("GET", path)

    def text(self, path: str) -> str:
        return self._ask("GET", path, None, "").decode()

    def post(self, path: str, document: Object) -> Object:
        return self._json("POST", path, document)

    def patch(self, path: str, document: Object) -> Object:
        return self._json("PATCH", path, document, "application/merge-patch+json")

    def delete(self, path: str) -> Object:
        return self._json("DELETE", path)

    def apply(self, path: str, document: Object) -> Object:
        """Server-side apply of a whole object."""
        query = "?fieldManager=localcluster&force=true"
        return self._json("PATCH", path + query, document, "application/apply-patch+yaml")

    def _json(
        self, method: str, path: str, document: Object | None = None, kind: str = "application/json"
    ) -> Object:
        answer: Object = json.loads(self._ask(method, path, document, kind))
        return answer

    def _ask(self, method: str, path: str, document: Object | None, kind: str) -> bytes:
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout, context=self._tls
        )
        try:
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, {"Content-Type": kind} if body else {})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise Refused(answer.status, content.decode(errors="replace")[:2000])
        return content

    def watch(self, path: str) -> "http.client.HTTPResponse":
        """An open answer with one JSON event on each line; the caller closes it."""
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout, context=self._tls
        )
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status >= 300:
            raise Refused(answer.status, answer.read().decode(errors="replace")[:2000])
        return answer
