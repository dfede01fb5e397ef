"""virtctl adm profile: begins, waits, ends, and writes what each pod tells."""

from __future__ import annotations

from pathlib import Path

from tests.cli.server import Server


async def test_each_pod_gets_a_folder(server: Server, tmp_path: Path) -> None:
    place = tmp_path / "profiles"
    words = ("adm", "profile", "--for=0.1", "--memory", "--component=virt-api", f"-o={place}")
    out, _ = await server.run(*words)
    assert out == f"{place}: 2 files\n"
    assert (place / "virt-api-1" / "cpu.folded").read_bytes() == b"a 1"
    assert (place / "virt-handler-1" / "cpu.folded").is_file()
    start, stop, *dumps = server.asked
    assert start[1].endswith("/start-cluster-profiler?memory=true")
    assert stop[1].endswith("/stop-cluster-profiler")
    selector = "kubevirt.io=virt-api"
    assert [body for _, _, body in dumps] == [
        {"labelSelector": selector},
        {"labelSelector": selector, "continue": "virt-api-1"},
    ]


async def test_a_profiler_that_is_off_is_told(server: Server, tmp_path: Path) -> None:
    server.refuse = (403, "the cluster profiler is off")
    _, err = await server.run("adm", "profile", f"-o={tmp_path}", code=1)
    assert "the cluster profiler is off" in err


async def test_nobody_waits_for_ever(server: Server, tmp_path: Path) -> None:
    _, err = await server.run("adm", "profile", "--for=601", f"-o={tmp_path}", code=1)
    assert "--for must be from 0 to 600 seconds" in err
    assert server.asked == []
