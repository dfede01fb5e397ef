"""Where the server is and who we are, out of files."""

from __future__ import annotations

import base64
import json
import os
import ssl
import sys
from pathlib import Path

import pytest
import trustme

from virtpod.kube import config as module
from virtpod.kube.config import Config, TokenFile


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def kubeconfig(folder: Path, **parts: object) -> str:
    path = folder / "config"
    path.write_text(json.dumps(parts))  # JSON is YAML
    return str(path)


def test_a_kubeconfig_with_data_and_files(tmp_path: Path, authority: trustme.CA) -> None:
    pair = authority.issue_cert("admin")
    ca = authority.cert_pem.bytes()
    (tmp_path / "client.crt").write_bytes(pair.cert_chain_pems[0].bytes())
    key = base64.b64encode(pair.private_key_pem.bytes()).decode()
    path = kubeconfig(
        tmp_path,
        **{
            "current-context": "one",
            "contexts": [
                {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "n"}},
                {"name": "two", "context": {"cluster": "c", "user": "t"}},
            ],
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": "https://127.0.0.1:6443/",
                        "certificate-authority-data": base64.b64encode(ca).decode(),
                    },
                }
            ],
            "users": [
                {
                    "name": "u",
                    "user": {"client-certificate": "client.crt", "client-key-data": key},
                },
                {"name": "t", "user": {"token": "secret"}},
            ],
        },
    )
    one = Config.from_kubeconfig(path)
    assert one.server == "https://127.0.0.1:6443"
    assert one.namespace == "n"
    tls = one.tls()
    assert tls is not None
    assert tls.verify_mode is ssl.CERT_REQUIRED
    assert len(tls.get_ca_certs()) == 1
    two = Config.from_kubeconfig(path, "two")
    assert two.authorization() == {"Authorization": "Bearer secret"}
    assert "secret" not in repr(two)
    with pytest.raises(KeyError, match="three"):
        Config.from_kubeconfig(path, "three")


def test_a_credential_plugin_is_asked_once_while_its_token_lasts(tmp_path: Path) -> None:
    count = tmp_path / "count"
    credential = {"status": {"token": "t", "expirationTimestamp": "2999-01-01T00:00:00Z"}}
    script = f"open({str(count)!r}, 'a').write('.'); print({json.dumps(credential)!r})"
    path = kubeconfig(
        tmp_path,
        **{
            "current-context": "one",
            "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [
                {
                    "name": "u",
                    "user": {"exec": {"command": sys.executable, "args": ["-c", script]}},
                }
            ],
        },
    )
    config = Config.from_kubeconfig(path)
    for _ in range(3):
        assert config.authorization() == {"Authorization": "Bearer t"}
    assert count.read_text() == "."


def test_in_a_pod_the_token_is_read_again(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(module, "TOKEN_LOOKED_AT_EVERY", 0.0)
    (tmp_path / "token").write_text("one\n")
    (tmp_path / "namespace").write_text("kubevirt")
    (tmp_path / "ca.crt").write_bytes(authority.cert_pem.bytes())
    config = Config.in_cluster(tmp_path)
    assert config.server == "https://[fd00::1]:443"
    assert config.namespace == "kubevirt"
    assert config.authorization() == {"Authorization": "Bearer one"}
    (tmp_path / "token").write_text("two\n")
    assert config.authorization() == {"Authorization": "Bearer two"}
    os.remove(tmp_path / "token")
    assert config.authorization() == {"Authorization": "Bearer two"}, "the old one may be good"


def test_a_missing_kubeconfig_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="set KUBECONFIG"):
        Config.from_kubeconfig(str(tmp_path / "none"))


def test_a_token_file_that_is_not_there_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TokenFile(tmp_path / "none")
