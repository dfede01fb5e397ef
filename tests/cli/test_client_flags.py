"""kubectl's flags of where the cluster is, and as whom it is asked."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kube.fake import FakeCluster
from virtpod.cli import __main__ as cli
from virtpod.cli.session import configuration
from virtpod.kube.client import Client
from virtpod.kube.resources import KUBEVIRTS

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: me, namespace: team}}]
clusters: [{name: here, cluster: {server: "https://here:6443/"}}]
users: [{name: me, user: {token: mine}}]
"""


def args(*words: str) -> argparse.Namespace:
    parser = cli.Parser()
    cli._add_global(parser)
    return parser.parse_args(words)


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    return str(path)


def test_a_kubeconfig_is_what_is_not_said_otherwise(kubeconfig: str, tmp_path: Path) -> None:
    plain = configuration(args("--kubeconfig", kubeconfig))
    assert (plain.server, plain.token, plain.namespace) == ("https://here:6443", "mine", "team")
    assert plain.authorization() == {"Authorization": "Bearer mine"}
    authority = tmp_path / "ca.crt"
    authority.write_text("PEM")
    changed = configuration(
        args(
            *("--kubeconfig", kubeconfig, "--server", "https://there/", "--token", "other"),
            *("--certificate-authority", str(authority), "--tls-server-name", "name"),
            *("--insecure-skip-tls-verify", "--as", "ann", "--as-group", "admins"),
        )
    )
    assert (changed.server, changed.ca_data, changed.server_name) == (
        "https://there",
        "PEM",
        "name",
    )
    assert changed.insecure
    assert changed.namespace == "team"
    assert changed.authorization() == {
        "Authorization": "Bearer other",
        "Impersonate-User": "ann",
        "Impersonate-Group": "admins",
    }


def test_no_kubeconfig_is_needed_where_the_server_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    assert configuration(args("--server", "http://there")).server == "http://there"
    with pytest.raises(FileNotFoundError):
        configuration(args("--server", "http://there", "--context", "here"))
    with pytest.raises(FileNotFoundError):
        configuration(args())


async def test_requests_go_there(fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    async with Client(configuration(args("--server", fake.server)), "virtctl") as client:
        assert (await client.list(KUBEVIRTS)).items == []


def test_a_file_that_is_not_there_is_told() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "virtpod.cli", "start", "demo", "--server", "https://there"),
            *("--certificate-authority", "/nonexistent/ca"),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "KUBECONFIG": "/nonexistent"},
        check=False,
    )
    assert done.returncode == 1
    assert "/nonexistent/ca" in done.stderr
    assert "Traceback" not in done.stderr


def test_they_may_stand_before_the_command() -> None:
    assert cli._command(["--as", "ann", "--token", "t", "start", "demo"]) == (
        "start",
        ["--as", "ann", "--token", "t", "demo"],
    )
