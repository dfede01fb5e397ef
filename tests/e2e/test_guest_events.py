"""One machine: started paused, rebooted from inside, panicked, and stopped with haste."""

from __future__ import annotations

import pytest

from tests.e2e.support import BOOT, Console, Namespace, condition, conditions, phase, vm

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAME = "events"


def test_a_guest_starts_paused_reboots_and_panics(namespace: Namespace) -> None:
    machine = vm(NAME, "Manual")
    devices = machine["spec"]["template"]["spec"]["domain"]["devices"]
    devices["panicDevices"] = [{"model": "pvpanic"}]
    namespace.apply(machine)
    namespace.virtctl("start", NAME, "--paused")
    paused = namespace.wait(
        "vmi",
        NAME,
        lambda vmi: phase(vmi) == "Running" and condition(vmi, "Paused") == "True",
        "Running and paused",
        BOOT,
    )
    assert paused["spec"]["startStrategy"] == "Paused"
    assert conditions(paused)["Paused"]["reason"] == "PausedByUser"
    namespace.virtctl("unpause", "vm", NAME)
    before = namespace.running(NAME)
    pod = namespace.launcher(before)["metadata"]["name"]

    with Console(namespace.name, NAME) as console:
        console.login()
        console.type("reboot -f\n")
        console.expect("demo guest: starting", BOOT)
        console.login()
        after = namespace.get("vmi", NAME)
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert phase(after) == "Running"

        console.run("modprobe pvpanic_pci")
        console.type("echo c >/proc/sysrq-trigger\n")
        namespace.wait("vmi", NAME, lambda vmi: phase(vmi) == "Failed", "Failed")

    told = dict(namespace.told(NAME, "GuestPanicked", "Stopped"))
    assert "kernel panicked" in told["GuestPanicked"]
    assert "kernel panicked" in told["Stopped"]

    def ended(found: dict[str, object]) -> bool:
        return phase(found) == "Failed"

    [compute] = [
        status["state"]["terminated"]
        for status in namespace.wait("pod", pod, ended, "Failed", 60)["status"]["containerStatuses"]
        if status["name"] == "compute"
    ]
    assert compute["exitCode"] == 1
    assert compute["message"] == "the guest ended: Panicked: the guest's kernel panicked"


def test_a_guest_that_does_not_heed_is_hastened(namespace: Namespace) -> None:
    uid = namespace.get("vmi", NAME)["metadata"]["uid"]
    namespace.virtctl("start", NAME)
    namespace.running(NAME, other_than=uid)
    with Console(namespace.name, NAME) as console:
        console.login()
        console.run("rm -r /etc/acpi/PWRF")
    namespace.virtctl("stop", NAME, "--grace-period", "300", "--force")
    namespace.wait("vmi", NAME, lambda vmi: vmi["metadata"].get("deletionTimestamp"), "deleted")
    namespace.virtctl("stop", NAME, "--grace-period", "1", "--force")
    namespace.gone("vmi", NAME, 120)  # which is well before its first 300 s are over
    namespace.delete("vm", NAME)
