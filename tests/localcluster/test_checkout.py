"""A second checkout's cluster beside the first: it comes, fails and goes without a trace."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localcluster.support import ROOT, Object, localcluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def checkout(tmp_path: Path, nodes: list[str]) -> Iterator[Path]:
    """The package with the programs that are built already. `nodes`: so that they are."""
    shutil.copytree(ROOT / "localcluster", tmp_path / "localcluster")
    shutil.copytree(ROOT / ".local/cache/localcluster", tmp_path / ".local/cache/localcluster")
    programs = tmp_path / ".local/bin"
    programs.mkdir()
    for program in (ROOT / ".local/bin").iterdir():
        (programs / program.name).symlink_to(program)
    yield tmp_path
    localcluster("down", root=tmp_path)


def traces() -> dict[str, list[str]]:
    """What the kernel keeps by name."""
    links = subprocess.run(["ip", "-json", "link"], capture_output=True, check=True).stdout
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True)
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    netns = Path("/run/netns")
    return {
        "mounts": sorted({line.split()[1] for line in mounts if "overlay" not in line}),
        "netns": sorted(path.name for path in netns.iterdir()) if netns.exists() else [],
        "links": sorted(link["ifname"] for link in json.loads(links)),
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("**/virtpod-*")),
        "rules": rules.stdout.splitlines(),
    }


def processes(root: Path) -> list[str]:
    """Command lines that name the checkout."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if str(root) in line]


def test_down_leaves_no_trace(checkout: Path) -> None:
    before = traces()
    answer = localcluster("up", root=checkout)
    assert answer.returncode == 0, answer.stderr
    status: Object = json.loads(localcluster("status", root=checkout).stdout)
    assert status["healthy"]
    assert processes(checkout)
    during = traces()
    assert during["netns"] != before["netns"]
    assert during["links"] == before["links"]
    assert during["rules"] == before["rules"]

    answer = localcluster("down", root=checkout)
    assert answer.returncode == 0, answer.stderr
    assert traces() == before
    assert processes(checkout) == []
    assert not (checkout / ".local/kubeconfig").exists()


def test_down_on_nothing_is_fine(checkout: Path) -> None:
    assert localcluster("down", root=checkout).returncode == 0


@pytest.mark.parametrize(("program", "log"), [("etcd", "etcd.log"), ("kubelet", "kubelet.log")])
def test_a_failed_start_says_why(checkout: Path, program: str, log: str) -> None:
    broken = checkout / ".local/bin" / program
    broken.unlink()
    broken.write_text("#!/bin/sh\necho the disk is on fire\nexit 1\n")
    broken.chmod(0o755)
    answer = localcluster("up", root=checkout)
    assert answer.returncode != 0
    assert "the disk is on fire" in answer.stderr
    assert log in answer.stderr
