"""virtctl explain: a manifest becomes readable, offline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from virtpod.cli import __main__ as cli

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(path for path in GOLDEN.glob("*/*/vmi.yaml"))
VM = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "demo"},
    "spec": {
        "runStrategy": "Always",
        "template": {
            "spec": {
                "domain": {
                    "devices": {
                        "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                        "watchdog": {"name": "dog", "i6300esb": {"action": "reset"}},
                    },
                    "memory": {"guest": "128Mi"},
                },
                "volumes": [{"name": "root", "containerDisk": {"image": "demo:1"}}],
            }
        },
    },
}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "vm.yaml"
    path.write_text(yaml.safe_dump(VM))
    return path


def test_every_part_names_the_features(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain", "-f", str(manifest)]) == 0
    out = capsys.readouterr().out
    for title in ("# spec, as admitted", "# the launcher's pod", "# the domain", "# VirtualM"):
        assert title in out
    assert "# watchdog" in out
    assert "<!-- watchdog -->" in out
    assert '<watchdog model="i6300esb"' in out
    assert "# cpu: default" in out


def test_a_new_vm_is_explained_with_its_spare_ports(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ports(path: Path) -> int:
        assert cli.run(["explain", "-f", str(path), "--only", "domain", "--plain"]) == 0
        return capsys.readouterr().out.count('model="pcie-root-port"')

    there = tmp_path / "there.yaml"
    there.write_text(yaml.safe_dump({**VM, "metadata": {"name": "demo", "uid": "an older VM"}}))
    assert (ports(manifest), ports(there)) == (9, 0)


def test_one_part_is_plain_yaml(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain", "-f", str(manifest), "--only", "pod", "--plain"]) == 0
    (pod,) = yaml.safe_load_all(capsys.readouterr().out)
    assert pod["kind"] == "Pod"
    assert pod["spec"]["containers"][0]["name"] == "compute"


def test_what_would_be_refused_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "vm.yaml"
    path.write_text(yaml.safe_dump({**VM, "spec": {**VM["spec"], "running": True}}))
    assert cli.run(["explain", "-f", str(path)]) == 1
    assert "# refused: spec.running" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "kind: Pod", ": ["])
def test_nothing_to_explain_is_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert cli.run(["explain", "-f", str(path)]) == 1


@pytest.mark.parametrize("case", CASES, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_any_golden_case_is_explained(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = not (case.parent / "pod.yaml").exists()
    code = cli.run(["explain", "-f", str(case)])
    if code == 1 and not refused:
        # Its own cluster.yaml may allow what the defaults do not.
        assert (case.parent / "cluster.yaml").exists()
    if code == 0:
        domain = capsys.readouterr().out.split("# the domain\n")[1]
        ElementTree.fromstring(domain)


def test_no_network_library_is_loaded(manifest: Path) -> None:
    code = (
        "import sys; from virtpod.cli.__main__ import run; "
        f"run(['explain', '-f', {str(manifest)!r}]); "
        "sys.exit('aiohttp' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
