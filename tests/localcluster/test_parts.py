"""Parts of the starter by themselves: archives, state, waits, relay, the provisioner's rules."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from localcluster import images, layout, linux, progress, provisioner, state
from localcluster.api import Api, Object
from tests.localcluster.support import ROOT


def test_an_archive_is_a_whole_oci_layout(tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    files = [images.File("etc/name", content=b"x", mode=0o644), images.File("bin/a", link="b")]
    images.write_archive(archive, "localhost/some/image:1", files, ("/bin/a",))

    with tarfile.open(archive) as opened:
        blobs = {
            member.name.removeprefix("blobs/sha256/"): opened.extractfile(member)
            for member in opened
            if member.name.startswith("blobs/")
        }
        contents = {name: file.read() for name, file in blobs.items() if file}
    for name, content in contents.items():
        assert hashlib.sha256(content).hexdigest() == name
    ((reference, digest),) = images.contents(archive)
    assert reference == "localhost/some/image:1"
    manifest = json.loads(contents[digest.removeprefix("sha256:")])
    assert manifest["layers"][0]["digest"].removeprefix("sha256:") in contents


def test_an_archive_of_another_kind_names_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "other.tar"
    with tarfile.open(archive, "w"):
        pass
    assert images.contents(archive) == set()


def test_a_pid_used_again_is_not_the_process_we_know() -> None:
    pid = os.getpid()
    started = linux.start_time(pid)
    assert started is not None
    assert state.Process(pid, started).alive
    assert not state.Process(pid, started - 1).alive


def test_state_survives_a_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "CLUSTER", tmp_path)
    monkeypatch.setattr(layout, "STATE", tmp_path / "state.json")
    kept = state.State(api_port=1, machines={"node2": state.Process(2, 3)})
    kept.save()
    assert state.load(layout.STATE) == kept
    assert [node.name for node in kept.nodes] == ["node2"]


def test_a_wait_ends_with_the_logs_that_tell_why(tmp_path: Path) -> None:
    log = tmp_path / "kubelet.log"
    log.write_text("".join(f"{progress.STARTED} {n}: kubelet\nno disk\n" for n in range(1, 8)))
    with pytest.raises(progress.Failed) as failure:
        progress.until("the node", lambda: False, seconds=60, logs=(log,))
    assert failure.value.logs == (log,)
    assert "no disk" in progress.tail(log)


@pytest.mark.cluster
@pytest.mark.usefixtures("nodes")  # a relay joins the cluster's cgroup, which is there then
def test_a_relay_carries_bytes_both_ways_and_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = f"127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "localcluster.relay", "-", "127.0.0.1:0", "-", target]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as relay:
            try:
                assert relay.stdout is not None
                port = int(relay.stdout.readline())
                with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                    far, _ = server.accept()
                    far.settimeout(10)
                    client.sendall(b"ping")
                    client.shutdown(socket.SHUT_WR)
                    with far:
                        assert far.makefile("rb").read() == b"ping"
                        far.sendall(b"pong")
                    assert client.makefile("rb").read() == b"pong"
            finally:
                relay.kill()


def claim(**annotations: str) -> Object:
    named = {name.replace("_", "-"): value for name, value in annotations.items()}
    return {
        "metadata": {
            "uid": "u",
            "name": "c",
            "namespace": "n",
            "annotations": {f"volume.kubernetes.io/{name}": named[name] for name in named},
        },
        "spec": {"accessModes": ["ReadWriteOnce"]},
    }


@pytest.mark.parametrize(
    "foreign",
    [
        claim(selected_node="node1"),
        claim(storage_provisioner=provisioner.NAME),
        claim(storage_provisioner="another", selected_node="node1"),
        claim(storage_provisioner=provisioner.NAME, selected_node="../../etc"),
    ],
)
def test_a_claim_that_is_not_ours_is_left_alone(foreign: Object) -> None:
    class NoApi(Api):
        def __init__(self) -> None: ...

    provisioner.provision(NoApi(), foreign)  # would fail if it asked the API server anything
