"""Completion: what may follow, and that the shells themselves offer it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from localcluster import build
from tests.kube.fake import FakeCluster
from virtpod.cli import __main__ as cli
from virtpod.cli import completion
from virtpod.kube.resources import NAMESPACES, VMS

WITHIN = 30.0


def offered(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[list[str], str]:
    """The candidates, and what is said about files."""
    assert cli.run(["__complete", *words]) == 0
    *found, directive = capsys.readouterr().out.splitlines()
    return [line.partition("\t")[0] for line in found], directive


def test_words_are_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert offered(capsys, "")[0] == list(cli.COMMANDS)
    assert offered(capsys, "unp") == (["unpause"], ":4")
    assert offered(capsys, "create", "")[0] == ["clone", "instancetype", "preference", "vm"]
    assert offered(capsys, "-n", "team", "create", "i")[0] == ["instancetype"]
    assert offered(capsys, "create", "vm", "--run-strategy", "H")[0] == ["Halted"]
    assert offered(capsys, "create", "vm", "--run-strategy=H")[0] == ["--run-strategy=Halted"]
    assert offered(capsys, "create", "vm", "--run-strategy", "=", "H")[0] == [
        "--run-strategy=Halted"
    ]
    assert offered(capsys, "pause", "")[0] == ["vm", "vmi"]
    assert offered(capsys, "stop", "demo", "--f")[0] == ["--force"]
    assert offered(capsys, "completion", "z")[0] == ["zsh"]
    assert offered(capsys, "completion", "zsh", "")[0] == []
    assert offered(capsys, "fly", "")[0] == []
    assert offered(capsys, "create", "fly", "")[0] == []


def test_files_are_the_shells_matter(capsys: pytest.CaptureFixture[str]) -> None:
    assert offered(capsys, "explain", "-f", "") == ([], ":0")
    assert offered(capsys, "replay", "a.json", "b") == ([], ":0")
    assert offered(capsys, "--kubeconfig", "x", "ssh", "--identity-file", "") == ([], ":0")


@pytest.mark.parametrize("path", list(cli.commands()), ids=" ".join)
def test_every_flag_of_every_command_is_offered(
    capsys: pytest.CaptureFixture[str], path: tuple[str, ...]
) -> None:
    found, _ = offered(capsys, *path, "--")
    assert {"--namespace", "--help"} <= set(found)
    for flag in found:
        assert offered(capsys, *path, flag)[0] == [each for each in found if each.startswith(flag)]


async def test_names_of_the_cluster_are_offered(fake: FakeCluster, tmp_path: Path) -> None:
    for name in ("one", "other"):
        fake.put(VMS, {"metadata": {"namespace": "team", "name": name}})
    fake.put(NAMESPACES, {"metadata": {"name": "team"}})
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(pointing_at(fake.server)))

    async def asked(*words: str) -> list[str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "virtpod.cli", "__complete", *words),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        return [line.partition("\t")[0] for line in out.decode().splitlines()]

    common = ("--kubeconfig", str(kubeconfig))
    assert await asked(*common, "start", "-n", "team", "o") == ["one", "other", ":4"]
    assert await asked(*common, "-n", "team", "pause", "vm", "ot") == ["other", ":4"]
    assert await asked(*common, "-n", "team", "ssh", "vm/ot") == ["vm/other", ":4"]
    assert await asked(*common, "start", "--namespace", "t") == ["team", ":4"]
    assert await asked(*common, "start", "-n", "empty", "o") == [":4"]


def pointing_at(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        "clusters": [{"name": "fake", "cluster": {"server": server}}],
        "users": [{"name": "fake", "user": {}}],
    }


def test_no_cluster_offers_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    assert offered(capsys, "start", "") == ([], ":4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With virtctl in it, as it is installed."""
    folder = tmp_path_factory.mktemp("bin")
    program = Path(sys.executable).parent / "virtctl"
    (folder / "virtctl").symlink_to(program)
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "KUBECONFIG": "/nonexistent",
        "HOME": str(folder),
        "TERM": "dumb",
    }


def said(folder: Path, *words: str) -> str:
    done = subprocess.run(
        words, env=environment(folder), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shells() -> None:
    for name in ("zsh", "fish"):
        if not shutil.which(name):
            build.install({name: name})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("virtctl unp", ["unpause"]),
        ("virtctl create pre", ["preference"]),
        ("virtctl create vm --run-strategy = Ha", ["Halted"]),
        ("virtctl create vm --infer-ins", ["--infer-instancetype", "--infer-instancetype-from"]),
    ],
)
def test_bash(folder: Path, words: str, expected: list[str]) -> None:
    script = f"""
    source <(virtctl completion bash)
    complete -p virtctl > /dev/null || exit 3
    COMP_WORDS=({words}) COMP_CWORD=$(( {len(words.split())} - 1 ))
    _virtctl
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert said(folder, "bash", "--norc", "-c", script).split() == expected


def test_fish(folder: Path, shells: None) -> None:
    source = "virtctl completion fish | source; complete -C "
    lines = said(folder, "fish", "-c", f"{source} 'virtctl unp'").splitlines()
    assert lines == [f"unpause\t{cli.COMMANDS['unpause']}"]
    lines = said(folder, "fish", "-c", f"{source} 'virtctl create vm --run-strategy Ha'").split()
    assert lines == ["Halted"]
    (folder / "machine.yaml").touch()
    lines = said(folder, "fish", "-c", f"cd {folder}; {source} 'virtctl explain -f mach'").split()
    assert lines[0] == "machine.yaml"


def test_zsh(folder: Path, shells: None) -> None:
    """In earnest, with a terminal and the Tab key."""
    (folder / ".zshrc").write_text(
        "PS1='ready> '\nautoload -Uz compinit\ncompinit -u\nsource <(virtctl completion zsh)\n"
    )
    process, shell = pty.fork()
    if process == 0:
        os.execvpe("zsh", ["zsh", "-i"], environment(folder))
    try:
        wait(shell, "ready> ")
        os.write(shell, b"virtctl unp\t")
        wait(shell, "unpause ")
        os.write(shell, b"\x15virtctl create vm --run-strategy Ha\t")
        wait(shell, "Halted ")
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(shell)


def wait(terminal: int, text: str) -> None:
    """Until the terminal has shown it."""
    seen, deadline = "", time.monotonic() + WITHIN
    while text not in seen:
        left = max(deadline - time.monotonic(), 0)
        assert select.select([terminal], [], [], left)[0], f"{text!r} is not in {seen!r}"
        seen += os.read(terminal, 4096).decode(errors="replace")


def test_powershells_script_is_whole() -> None:
    """Debian has no PowerShell to try it with."""
    script = completion.SCRIPTS["powershell"]
    for opened, closed in ("()", "{}", "[]"):
        assert script.count(opened) == script.count(closed)
    assert "Register-ArgumentCompleter -Native -CommandName 'virtctl'" in script


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_scripts_ask_virtctl(folder: Path, shell: str) -> None:
    assert "__complete" in said(folder, "virtctl", "completion", shell)
