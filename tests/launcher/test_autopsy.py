"""What a QEMU that ended leaves to be found."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtpod.launcher import autopsy
from virtpod.launcher.autopsy import Autopsy

LOG = """\
2026-11-23 14:42:59.708+0000: starting up libvirt version: 11.3.0, qemu version: 10.0.3
LC_ALL=C \\
/usr/bin/qemu-system-x86_64 \\
-name guest=default_vm,debug-threads=on \\
-msg timestamp=on
2026-11-23T14:42:59.900000Z qemu-system-x86_64: -mon mode=control: warning: '-mon' is deprecated
2026-11-23T14:43:00.000000Z qemu-system-x86_64: warning: something is odd
2026-11-23T14:43:09.000000Z qemu-system-x86_64: terminating on signal 15 from pid 30 (libvirtd)
2026-11-23 14:43:09.708+0000: panic hyper-v: arg1='0x1', arg2='0x2'
2026-11-23 14:43:10.708+0000: shutting down, reason=crashed
"""


@pytest.mark.parametrize(
    ("counter", "before", "after"),
    [
        ("memory.events", "low 0\noom 0\noom_kill 0\n", "low 0\noom 3\noom_kill 1\n"),
        ("memory/memory.oom_control", "under_oom 0\noom_kill 0\n", "under_oom 0\noom_kill 1\n"),
    ],
)
def test_running_out_of_memory_is_told_from_being_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counter: str, before: str, after: str
) -> None:
    monkeypatch.setattr(autopsy, "CGROUPS", tmp_path)
    (tmp_path / counter).parent.mkdir(exist_ok=True)
    (tmp_path / counter).write_text(before)
    of_qemu = Autopsy(str(tmp_path / "none"))
    assert of_qemu.findings("Failed", -9, barked=False) == "QEMU was ended by SIGKILL"
    (tmp_path / counter).write_text(after)
    assert "OOMKilled" in of_qemu.findings("Failed", -9, barked=False)
    assert of_qemu.findings("Failed", -11, barked=False) == "QEMU was ended by SIGSEGV"


def test_the_last_lines_of_qemu_are_told_and_no_others(tmp_path: Path) -> None:
    log = tmp_path / "vm.log"
    log.write_text(LOG)
    found = Autopsy(str(log)).findings("Failed", 1, barked=False)
    assert found == (
        "QEMU failed with exit code 1: warning: something is odd; "
        "panic hyper-v: arg1='0x1', arg2='0x2'"
    )
