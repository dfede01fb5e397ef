"""The guest's agent: the real one in a real guest, and then one that means harm."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.guest.pod import Container, Handler, Serial, connected, logged_in
from virtpod.wire.messages import (
    AgentTold,
    AskAgent,
    DomainChanged,
    Done,
    Execute,
    Executed,
    Failed,
    Freeze,
    Pause,
    Ping,
    SoftReboot,
    Thaw,
    Unpause,
)

DISK = "mke2fs -q /dev/vdc && mkdir -p /data && mount /dev/vdc /data && echo mounted"
HOSTILE = r"""#!/bin/sh
killall qemu-ga
sleep 1
exec 3<>/dev/$(basename $(dirname $(grep -l guest_agent /sys/class/virtio-ports/*/name)))
while true; do
    read -r line <&3 || { sleep 1; continue; }
    case $line in
    *guest-sync*) echo "$line" | sed 's/.*"id": *\([0-9]*\).*/{"return": \1}/' >&3 ;;
    *get-interfaces*) awk -v count=$(cat /tmp/count) 'BEGIN {
        printf "{\"return\": ["
        for (i = 0; i < count; i++) {
            printf "%s{\"name\": \"x%d\",", i ? "," : "", i
            printf "\"hardware-address\": \"02:00:%06d\"}", i
        }
        print "]}" }' >&3 ;;
    *osinfo*) echo '{"return": {"name": "\u001b[2J"}}' >&3 ;;
    *users*) echo "{\"return\": [$(head -c 3000 /dev/zero | tr '\0' '[')" >&3 ;;
    *) echo '{"return": "thawed"}' >&3 ;;
    esac
done
"""


@pytest.fixture
def agent_vmi(vmi: dict[str, Any]) -> dict[str, Any]:
    """With a disk of its own, for a file system that can freeze."""
    vmi["spec"]["volumes"].append({"name": "data", "emptyDisk": {"capacity": "16Mi"}})
    disk = {"name": "data", "disk": {"bus": "virtio"}}
    vmi["spec"]["domain"]["devices"]["disks"].append(disk)
    return vmi


async def told(handler: Handler, what: Any) -> AgentTold:
    answer = await handler.ask(lambda n: AskAgent(id=n, what=what))
    assert isinstance(answer, AgentTold), answer
    return answer


async def execute(handler: Handler, *words: str, within: float = 5) -> Any:
    return await handler.ask(
        lambda n: Execute(id=n, command=words[0], arguments=list(words[1:]), within=within)
    )


async def domain(handler: Handler, wanted: Any, within: float = 60) -> DomainChanged:
    if wanted(handler.last):
        return handler.last
    found = await handler.until(lambda m: isinstance(m, DomainChanged) and wanted(m), within)
    assert isinstance(found, DomainChanged)
    return found


async def test_what_the_agent_tells_and_does(
    box: Container, agent_vmi: dict[str, Any], cache: dict[str, bytes]
) -> None:
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(await handler.ask(lambda n: Ping(id=n, within=1)), Failed)
        assert isinstance(await handler.sync(agent_vmi), Done)
        serial = await Serial.of(box)
        await serial.until("login:")
        await serial.log_in()
        assert "mounted" in await serial.answer(DISK)

        seen = await domain(
            handler,
            lambda d: d.os is not None and any("10.0.2.2" in i.addresses for i in d.interfaces),
        )
        assert seen.agent_connected
        assert seen.agent_lacks == ()
        assert seen.os is not None
        assert (seen.os.id, seen.os.machine) == ("virtpod-demo-guest", "x86_64")
        (nic,) = seen.interfaces
        assert (nic.name, nic.interface_name, nic.source, nic.addresses[0]) == (
            *("default", "eth0", "domain, guest-agent", "10.0.2.2"),
        )

        info = await told(handler, "info")
        assert info.hostname == "from-cloud-init"
        assert info.timezone == "UTC, 0"
        assert "guest-exec" in info.commands
        assert [user.name for user in info.users] == ["root"]
        (data,) = (await told(handler, "filesystems")).filesystems
        assert (data.mount_point, data.name, data.disks[0].bus) == ("/data", "vdc", "virtio")
        assert 0 < data.used < data.total
        loaded = await handler.ask(lambda n: AskAgent(id=n, what="filesystems", load=True))
        assert isinstance(loaded, AgentTold)
        assert "guest-get-load" in info.commands
        assert loaded.load is not None
        assert max(loaded.load) > 0  # it has just booted

        assert isinstance(await handler.ask(lambda n: Ping(id=n, within=1)), Done)
        ran = await execute(handler, "sh", "-c", "echo said; exit 3")
        assert isinstance(ran, Executed)
        assert (ran.code, ran.output) == (3, "said\n")
        assert isinstance(await execute(handler, "sleep", "5", within=0.5), Failed)
        assert isinstance(await execute(handler, "/no/such/program"), Failed)

        await handler.ask(lambda n: Pause(id=n))
        assert isinstance(await execute(handler, "false"), Done)  # nobody could have answered
        await handler.ask(lambda n: Unpause(id=n))

        assert isinstance(await handler.ask(lambda n: Freeze(id=n, thaw_after=2)), Done)
        assert handler.last.frozen
        assert isinstance(await execute(handler, "false"), Done)
        await domain(handler, lambda d: not d.frozen)
        assert "written" in await serial.answer("echo x >/data/x && sync && echo written")
        assert isinstance(await handler.ask(lambda n: Freeze(id=n, thaw_after=600)), Done)
        assert isinstance(await handler.ask(lambda n: Thaw(id=n)), Done)
        assert not handler.last.frozen

        assert isinstance(await handler.ask(lambda n: SoftReboot(id=n)), Done)
        await domain(handler, lambda d: not d.agent_connected)
        await serial.until("login:")
        await domain(handler, lambda d: d.agent_connected)


async def test_an_agent_that_means_harm_is_cut_short(
    box: Container, vmi: dict[str, Any], cache: dict[str, bytes]
) -> None:
    script = base64.b64encode(HOSTILE.encode()).decode()
    vmi["spec"]["volumes"][1]["cloudInitNoCloud"]["userData"] = (
        f"#!/bin/sh\necho {script} | base64 -d >/tmp/agent\necho 500 >/tmp/count\n"
    )
    async with logged_in(box, cache, vmi) as (handler, serial):
        await domain(handler, lambda d: d.os is not None)
        before = box.resident()
        await serial.answer("(setsid sh /tmp/agent >/dev/null 2>&1 &)")

        many = await domain(handler, lambda d: len(d.interfaces) > 1, within=180)
        assert len(many.interfaces) == 32
        assert many.interfaces[0].name == "default"
        assert many.os is not None
        assert many.os.name == "[2J"  # nothing that moves a cursor
        answer = await handler.ask(lambda n: AskAgent(id=n, what="users"))
        assert isinstance(answer, Failed)
        # More than is listened to: nothing is new, and the guest obeys as ever.
        await serial.answer("echo 100000 >/tmp/count")
        assert isinstance(await handler.ask(lambda n: Pause(id=n)), Done)
        assert isinstance(await handler.ask(lambda n: Unpause(id=n)), Done)
        assert len(handler.last.interfaces) == 32
        assert box.resident() - before < 32 << 20
