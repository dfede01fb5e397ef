"""virt-handler's decisions, rule by rule: a pure function of what is seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from msgspec import structs

from tests.node.world import NODE, POD_UID, RUNNING, UID, vmi
from virtpod.controllers.node_devices import Ailing
from virtpod.controllers.node_nics import Rewire
from virtpod.controllers.node_seen import Failure, Guest, Pod
from virtpod.controllers.node_status import merged
from virtpod.controllers.node_vmi import LONGEST_PAUSE, Grow, Prepare, Seen, Tell, decide
from virtpod.kube.plan import Event, Patch, Plan
from virtpod.wire.messages import DomainChanged, GuestOS, InterfaceSeen, OwnDevice

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
POD = Pod(
    POD_UID,
    "virt-launcher-demo-abcde",
    "default",
    vmi_name="demo",
    vmi_uid=UID,
    ips=("10.1.0.7",),
    ready=True,
    running=True,
)
LISTENS = Guest(connected=True)
RUNS = Guest(connected=True, prepared=True, domain=RUNNING)
PREPARE = Prepare(POD_UID)
RELEASE = Tell(POD_UID, "release")


def seen(phase: str, guest: Guest = LISTENS, **more: Any) -> Seen:
    return Seen(NODE, NOW, **{"vmi": vmi(phase), "pod": POD, "guest": guest, **more})


def deleted(phase: str) -> dict[str, Any]:
    obj = vmi(phase)
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return obj


def domain(state: Any, reason: str = "Unknown", started: bool = True, **more: Any) -> Guest:
    shown = DomainChanged(seq=2, state=state, reason=reason, started=started, **more)
    return replace(RUNS, domain=shown)


def written(plan: Plan) -> dict[str, Any]:
    """What the patch sets below status."""
    patches = [action for action in plan.actions if isinstance(action, Patch)]
    return {
        operation["path"].removeprefix("/status/"): operation["value"]
        for patch in patches
        for operation in patch.body
        if operation["op"] == "add"
    }


def told(plan: Plan) -> list[str]:
    return [action.reason for action in plan.actions if isinstance(action, Event)]


def conditions(plan: Plan) -> dict[str, tuple[str, str]]:
    found = written(plan).get("conditions", ())
    return {each["type"]: (each["status"], each.get("reason", "")) for each in found}


# Before the guest runs.


@pytest.mark.parametrize("phase", ["Pending", "Scheduling", "Scheduled"])
def test_a_launcher_that_listens_is_prepared_at_once(phase: str) -> None:
    assert decide(seen(phase)).actions == (PREPARE,)


@pytest.mark.parametrize(
    "guest",
    [
        Guest(),
        Guest(connected=True, preparing=True),
        Guest(connected=True, prepared=True),
        RUNS,
    ],
)
def test_nothing_is_prepared_twice(guest: Guest) -> None:
    assert not decide(seen("Scheduling", guest)).actions


def test_a_running_guest_s_launcher_is_not_prepared_again() -> None:
    assert PREPARE not in decide(seen("Running")).actions


def test_nothing_starts_that_is_being_deleted() -> None:
    assert decide(seen("Scheduled", vmi=deleted("Scheduled"))).actions == [
        Tell(POD_UID, "shutdown", 30)
    ]
    leaving = decide(seen("Scheduled", pod=replace(POD, deleting=True)))
    assert leaving.actions == [Tell(POD_UID, "shutdown", 30)]


@pytest.mark.parametrize("phase", ["Pending", "Scheduling"])
def test_virt_controller_s_phases_are_not_written(phase: str) -> None:
    ended = domain("Shutoff", "Shutdown")
    for guest in (RUNS, ended, replace(LISTENS, lost=True, prepared=True)):
        assert written(decide(seen(phase, guest))) == {}


def test_nothing_is_known_of_the_vmi_or_of_its_pod() -> None:
    assert not decide(seen("Running", vmi=None)).actions
    assert not decide(seen("Running", pod=None)).actions


def test_a_failed_start_waits_longer_each_time() -> None:
    waits = []
    for times in (1, 2, 3, 20):
        failure = Failure("X", "y", at=NOW, times=times)
        plan = decide(seen("Scheduling", replace(LISTENS, failure=failure)))
        assert not plan.actions
        waits.append(plan.again_in)
    assert waits == [1.0, 2.0, 4.0, LONGEST_PAUSE]


def test_a_final_failure_is_not_hurried() -> None:
    failure = Failure("NoDisk", "there is none", final=True, at=NOW)
    assert decide(seen("Scheduled", replace(LISTENS, failure=failure))).again_in == LONGEST_PAUSE


def test_a_failed_start_is_tried_again_when_it_is_due() -> None:
    failure = Failure("X", "y", at=NOW - 2)
    plan = decide(seen("Scheduled", replace(LISTENS, failure=failure)))
    assert plan.actions == (PREPARE,)


def test_why_it_cannot_start_is_told_with_the_reason() -> None:
    failure = Failure("NoDisk", "there is none", at=NOW)
    plan = decide(seen("Scheduled", replace(LISTENS, failure=failure)))
    assert conditions(plan) == {"Synchronized": ("False", "NoDisk")}
    assert told(plan) == ["SyncFailed"]


def test_a_try_under_way_is_not_asked_after_all_the_time() -> None:
    late = Failure("DomainRefused", "no such file", at=NOW - LONGEST_PAUSE)
    guest = replace(LISTENS, preparing=True, failure=late)
    first = decide(seen("Scheduled", guest))
    assert first.again_in is None
    obj = vmi("Scheduled", conditions=written(first)["conditions"])
    plan = decide(seen("Scheduled", guest, vmi=obj))
    assert (plan.actions, plan.again_in) == ((), None)


def test_a_pod_that_goes_before_it_had_a_guest_did_not_end_well() -> None:
    """Else RerunOnFailure would take it for a guest that shut itself down."""
    gone = replace(POD, running=False, deleting=True, ended=0)
    assert written(decide(seen("Scheduled", Guest(), pod=gone)))["phase"] == "Failed"
    assert written(decide(seen("Running", Guest(), pod=gone)))["phase"] == "Succeeded"


# It runs.


def test_running_is_one_patch_that_tests_what_it_rests_on() -> None:
    plan = decide(seen("Scheduled", RUNS))
    [patch] = [action for action in plan.actions if isinstance(action, Patch)]
    tests = {each["path"]: each["value"] for each in patch.body if each["op"] == "test"}
    assert tests["/metadata/uid"] == UID
    assert tests["/status/phase"] == "Scheduled"
    assert tests["/status/conditions"] is None
    assert written(plan)["phase"] == "Running"
    assert told(plan) == ["Started"]
    assert plan.actions[0] is patch


def test_a_pod_that_is_not_ready_yet_makes_no_ready_condition() -> None:
    plan = decide(seen("Scheduled", RUNS, pod=replace(POD, ready=False)))
    assert "Ready" not in conditions(plan)


def test_the_pod_s_address_is_waited_for() -> None:
    plan = decide(seen("Scheduled", RUNS, pod=replace(POD, ips=(), running=False)))
    assert not plan.actions


def test_qemu_that_is_being_set_up_is_no_guest() -> None:
    assert not decide(seen("Scheduled", domain("Paused", "StartingUp", started=False))).actions


def test_what_the_agent_tells_is_written_once_and_a_thaw_takes_the_word_away() -> None:
    guest = domain(
        "Running",
        os=GuestOS(id="debian"),
        frozen=True,
        interfaces=[
            InterfaceSeen(
                name="default",
                mac="02:00:00:00:00:01",
                interface_name="eth0",
                addresses=["10.0.2.2"],
                source="domain, guest-agent",
            ),
            InterfaceSeen(
                name="", mac="02:00:00:00:00:02", interface_name="br0", source="guest-agent"
            ),
        ],
    )
    first = written(decide(seen("Scheduled", guest)))
    assert first["guestOSInfo"] == {"id": "debian"}
    assert first["fsFreezeStatus"] == "frozen"
    own, made = first["interfaces"]
    assert (own["ipAddress"], own["interfaceName"]) == ("10.1.0.7", "eth0")  # the pod's address
    assert made == {
        "mac": "02:00:00:00:00:02",
        "interfaceName": "br0",
        "infoSource": "guest-agent",
    }
    obj = vmi("Running", **{name: value for name, value in first.items() if name != "phase"})
    assert not decide(seen("Running", guest, vmi=obj)).actions

    assert guest.domain is not None
    thawed = replace(guest, domain=structs.replace(guest.domain, frozen=False))
    [patch] = decide(seen("Running", thawed, vmi=obj)).actions
    assert isinstance(patch, Patch)
    assert patch.body[-1] == {"op": "remove", "path": "/status/fsFreezeStatus"}


def test_a_card_that_has_been_plugged_out_leaves_the_status() -> None:
    """And others' words stay in those that are there."""
    card = InterfaceSeen(name="default", mac="02:00:00:00:00:01")
    obj = vmi("Running")
    spec = obj["spec"]
    spec["domain"]["devices"]["interfaces"].append(
        {"name": "blue", "bridge": {}, "state": "absent"}
    )
    spec["networks"].append({"name": "blue", "multus": {"networkName": "blue"}})
    obj["status"]["interfaces"] = [
        {"name": "default", "mac": card.mac, "others": "word"},
        {"name": "blue", "mac": "02:00:00:00:00:02", "infoSource": "domain"},
    ]
    changes = written(decide(seen("Running", domain("Running", interfaces=[card]), vmi=obj)))
    [left] = changes["interfaces"]
    assert (left["name"], left["others"]) == ("default", "word")


def test_a_guest_that_is_to_start_paused_runs_when_it_is_paused() -> None:
    obj = vmi("Scheduled")
    obj["spec"]["startStrategy"] = "Paused"
    plan = decide(seen("Scheduled", domain("Paused", "User", started=False), vmi=obj))
    assert written(plan)["phase"] == "Running"
    assert conditions(plan)["Paused"] == ("True", "PausedByUser")


def test_what_keeps_a_guest_here_is_told_in_sentences() -> None:
    obj = vmi("Scheduled")
    obj["spec"]["domain"]["devices"]["interfaces"] = [{"name": "default", "bridge": {}}]
    obj["spec"]["networks"] = [{"name": "default", "pod": {}}]
    plan = decide(seen("Scheduled", RUNS, vmi=obj))
    (told,) = [each for each in written(plan)["conditions"] if each["type"] == "LiveMigratable"]
    first, second = told["message"].split(". ")
    assert first.startswith("InterfaceNotLiveMigratable: ")
    assert second == "Live migration is not supported by this version."


def attested(phase: str, **sev: Any) -> dict[str, Any]:
    obj = vmi(phase)
    obj["spec"]["domain"]["launchSecurity"] = {"sev": {"attestation": {}, **sev}}
    return obj


def test_a_guest_that_is_attested_waits_for_its_owner_and_then_starts_paused() -> None:
    listens = Guest(connected=True)
    waiting = decide(seen("Scheduled", guest=listens, vmi=attested("Scheduled")))
    assert waiting.why == "its owner's session is awaited"
    assert waiting.actions == ()
    given = attested("Scheduled", session="AA==", dhCert="AA==")
    assert [type(a) for a in decide(seen("Scheduled", guest=listens, vmi=given)).actions] == [
        Prepare
    ]
    started = domain("Paused", "User", started=False)
    assert written(decide(seen("Scheduled", started, vmi=given)))["phase"] == "Running"


def after(plan: Plan, obj: dict[str, Any]) -> dict[str, Any]:
    """The VMI once the plan is carried out."""
    changed: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(obj))
    changed["status"].update(written(plan))
    return changed


def test_a_second_look_writes_nothing() -> None:
    running = after(decide(seen("Scheduled", RUNS)), vmi("Scheduled"))
    assert not decide(seen("Running", RUNS, vmi=running)).actions


def test_other_people_s_conditions_stay() -> None:
    obj = vmi("Running", conditions=[{"type": "Ready", "status": "True"}])
    plan = decide(seen("Running", domain("Paused", "User"), vmi=obj))
    assert written(plan)["conditions"][0] == {"type": "Ready", "status": "True"}
    assert conditions(plan)["Paused"] == ("True", "PausedByUser")


def test_an_io_error_is_told_once() -> None:
    stopped = domain("Paused", "IOError", message="disk full")
    first = decide(seen("Running", stopped))
    assert conditions(first)["Paused"] == ("True", "PausedIOError")
    assert told(first) == ["IOerror"]
    assert not decide(seen("Running", stopped, vmi=after(first, vmi("Running")))).actions


def test_what_failed_before_is_forgotten_when_it_runs() -> None:
    failed = [{"type": "Synchronized", "status": "False", "reason": "X"}]
    plan = decide(seen("Scheduled", RUNS, vmi=vmi("Scheduled", conditions=failed)))
    assert "Synchronized" not in conditions(plan)


# It ends.


@pytest.mark.parametrize(
    ("state", "reason", "phase", "event"),
    [
        ("Shutoff", "Shutdown", "Succeeded", "Normal"),
        ("Shutoff", "Saved", "Succeeded", "Normal"),
        ("Shutoff", "FromSnapshot", "Succeeded", "Normal"),
        ("Shutoff", "Destroyed", "Failed", "Warning"),
        ("Shutoff", "Crashed", "Failed", "Warning"),
        ("Shutoff", "Failed", "Failed", "Warning"),
        ("Crashed", "Unknown", "Failed", "Warning"),
        ("Paused", "PostcopyFailed", "Failed", "Warning"),
    ],
)
def test_how_a_guest_ended(state: str, reason: str, phase: str, event: str) -> None:
    plan = decide(seen("Running", domain(state, reason)))
    assert written(plan)["phase"] == phase
    [stopped] = [action for action in plan.actions if isinstance(action, Event)]
    assert (stopped.reason, stopped.type) == ("Stopped", event)


def test_a_guest_without_acpi_that_was_destroyed_ended_well() -> None:
    obj = vmi("Running")
    obj["spec"]["domain"]["features"] = {"acpi": {"enabled": False}}
    plan = decide(seen("Running", domain("Shutoff", "Destroyed"), vmi=obj))
    assert written(plan)["phase"] == "Succeeded"


def test_a_panic_is_told_apart() -> None:
    plan = decide(seen("Running", domain("Crashed", "Panicked", message="kernel BUG")))
    assert told(plan) == ["GuestPanicked", "Stopped"]


def test_a_guest_that_its_node_ends_says_why() -> None:
    """The kubelet tells why once the container is over, which waits for leave to go."""
    gone = replace(domain("Shutoff", "Shutdown"), stopping=True)
    plan = decide(seen("Running", gone))
    assert plan.actions == (RELEASE,)
    gone = replace(gone, told=frozenset({"release"}))
    gone = replace(gone, lost=True, lost_at=NOW)
    assert decide(seen("Running", gone, pod=replace(POD, ended=0))).actions == ()
    why = replace(
        POD, ended=0, final=True, ousted=True, end="Evicted; The node was low on resource: memory."
    )
    plan = decide(seen("Running", gone, pod=why))
    assert written(plan)["phase"] == "Succeeded"
    [stopped] = [action for action in plan.actions if isinstance(action, Event)]
    assert (stopped.reason, stopped.type) == ("Stopped", "Warning")
    assert "low on resource: memory" in stopped.message


def test_a_node_that_does_not_say_why_is_not_waited_for() -> None:
    gone = replace(domain("Shutoff", "Shutdown"), stopping=True, lost=True, lost_at=0.0)
    assert written(decide(seen("Running", gone)))["phase"] == "Succeeded"


@pytest.mark.parametrize(
    "guest",
    [
        domain("Shutoff", "Migrated"),
        domain("Shutoff", started=False),
        domain("NoState"),
        replace(RUNS, connected=False, domain=None),
        replace(RUNS, connected=False),
    ],
)
def test_what_is_no_end(guest: Guest) -> None:
    assert "phase" not in written(decide(seen("Running", guest)))


def test_a_launcher_whose_process_ended_took_its_guest_with_it() -> None:
    lost = replace(RUNS, connected=False, lost=True)
    assert written(decide(seen("Running", lost)))["phase"] == "Failed"


def test_the_kubelet_may_tell_why_a_launcher_was_lost() -> None:
    lost = replace(RUNS, connected=False, lost=True, lost_at=NOW - 1)
    assert decide(seen("Running", lost)).again_in == 1.0
    killed = decide(seen("Running", lost, pod=replace(POD, ended=137, end="OOMKilled")))
    assert written(killed)["phase"] == "Failed"
    [stopped] = [action for action in killed.actions if isinstance(action, Event)]
    assert "OOMKilled" in stopped.message
    assert "more room" in stopped.message


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (137, "Failed")])
def test_an_end_that_nobody_saw_is_told_by_the_pod(code: int, phase: str) -> None:
    plan = decide(seen("Running", Guest(), pod=replace(POD, ended=code)))
    assert written(plan)["phase"] == phase


def test_what_the_launcher_said_counts_more_than_its_exit_code() -> None:
    shut = replace(domain("Shutoff", "Shutdown"), connected=False, lost=True)
    plan = decide(seen("Running", shut, pod=replace(POD, ended=1)))
    assert written(plan)["phase"] == "Succeeded"


# It goes.


def test_a_deleted_guest_is_asked_once() -> None:
    plan = decide(seen("Running", RUNS, vmi=deleted("Running")))
    assert plan.actions[0] == Tell(POD_UID, "shutdown", 30)
    assert told(plan) == ["ShuttingDown"]
    asked = replace(RUNS, told=frozenset({"shutdown"}))
    again = decide(seen("Running", asked, vmi=deleted("Running")))
    assert not any(isinstance(action, Tell) for action in again.actions)
    assert told(again) == []


def test_a_guest_whose_grace_period_is_cut_is_hastened_once() -> None:
    obj = deleted("Running")
    obj["spec"]["terminationGracePeriodSeconds"] = 5
    asked = replace(RUNS, told=frozenset({"shutdown"}), grace=600)
    hastened = decide(seen("Running", asked, vmi=obj))
    assert hastened.actions == (Tell(POD_UID, "shutdown", 5),)
    assert not _tells(decide(seen("Running", replace(asked, grace=5), vmi=obj)))
    obj["spec"]["terminationGracePeriodSeconds"] = 60  # more time is not taken back
    assert not _tells(decide(seen("Running", replace(asked, grace=5), vmi=obj)))


def test_a_guest_whose_pod_is_deleted_is_asked_too() -> None:
    plan = decide(seen("Running", RUNS, pod=replace(POD, deleting=True)))
    assert _tells(plan) == [Tell(POD_UID, "shutdown", 30)]


def _tells(plan: Plan) -> list[Tell]:
    return [action for action in plan.actions if isinstance(action, Tell)]


def test_a_guest_that_is_shutting_down_is_not_asked_after_a_restart() -> None:
    plan = decide(seen("Running", domain("ShuttingDown"), vmi=deleted("Running")))
    assert not any(isinstance(action, Tell) for action in plan.actions)


def test_a_launcher_goes_when_the_api_has_the_end() -> None:
    ended = domain("Shutoff", "Shutdown")
    assert decide(seen("Succeeded", ended)).actions == (RELEASE,)
    assert not decide(seen("Succeeded", replace(ended, told=frozenset({"release"})))).actions


def test_a_guest_that_somebody_declared_dead_must_go() -> None:
    plan = decide(seen("Failed", RUNS))
    assert plan.actions == (Tell(POD_UID, "shutdown", 0),)


@pytest.mark.parametrize(
    ("before", "new", "result"),
    [
        (None, [{"name": "a"}], [{"name": "a"}]),
        (
            [{"name": "a", "theirs": 1, "x": 1}, {"name": "b"}],
            [{"name": "a", "x": 2}],
            [{"name": "a", "theirs": 1, "x": 2}, {"name": "b"}],
        ),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ("x", "y", "y"),
        ([1], [2], [2]),
    ],
)
def test_what_others_wrote_stays(before: Any, new: Any, result: Any) -> None:
    assert merged(before, new) == result


def test_a_guest_on_a_claim_waits_until_the_claim_is_noted() -> None:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    early = seen("Scheduling", LISTENS)
    assert early.vmi is not None
    spec = {**early.vmi["spec"], "volumes": [volume]}
    early = replace(early, vmi={**early.vmi, "spec": spec})
    assert decide(early) == Plan("its claims are not noted yet")
    note = {"name": "data", "target": "", "persistentVolumeClaimInfo": {"claimName": "data"}}
    status = {**early.vmi["status"], "volumeStatus": [note]}
    noted = replace(early, vmi={**early.vmi, "status": status})
    assert decide(noted).actions == (Prepare(noted.pod.uid),)


def test_a_try_under_way_is_not_asked_after_without_a_pause() -> None:
    failure = Failure("X", "y", at=NOW - 100)
    trying = seen("Scheduled", replace(LISTENS, failure=failure, preparing=True))
    again = decide(trying).again_in
    assert again is None or again > 0


def test_an_agent_that_lacks_what_is_wanted_of_it_is_called_old() -> None:
    def lacking(obj: dict[str, Any], *names: str, connected: bool = True) -> Any:
        guest = domain("Running", agent_connected=connected, agent_lacks=names)
        return conditions(decide(seen("Running", guest, vmi=obj))).get("AgentVersionNotSupported")

    old = ("True", "CommandsMissing")
    assert lacking(vmi("Running"), "guest-get-users") == old
    assert lacking(vmi("Running"), "guest-get-users", connected=False) is None
    assert lacking(vmi("Running"), "guest-set-user-password") is None
    asking = vmi("Running")
    asking["spec"]["accessCredentials"] = [
        {
            "userPassword": {
                "source": {"secret": {"secretName": "s"}},
                "propagationMethod": {"qemuGuestAgent": {}},
            }
        }
    ]
    assert lacking(asking, "guest-set-user-password") == old
    assert lacking(asking, "guest-ssh-add-authorized-keys") is None


# Its disks and its credentials.


def with_claim(size: str, **more: Any) -> dict[str, Any]:
    """A VMI that runs from a claim; as much as its status says of it."""
    info = {"claimName": "root", "capacity": {"storage": size}}
    entry = {"name": "root", "target": "vda", "persistentVolumeClaimInfo": info}
    return vmi("Running", volumeStatus=[entry], **more)


def test_a_launcher_is_told_once_of_claims_that_have_grown() -> None:
    grow = Grow(POD_UID)
    knows = replace(RUNS, sizes={"root": "1Gi"})
    assert grow not in decide(seen("Running", knows, vmi=with_claim("1Gi"))).actions
    assert decide(seen("Running", knows, vmi=with_claim("2Gi"))).actions == (grow,)
    # After a restart of virt-handler nobody knows what the launcher knows.
    unknown = replace(RUNS, sizes=None)
    assert decide(seen("Running", unknown, vmi=with_claim("1Gi"))).actions == (grow,)
    for guest in (
        replace(knows, growing=True),
        replace(knows, connected=False),
        replace(knows, ungrown=Failure("ExpansionFailed", "no room", at=NOW, of=grow)),
    ):
        assert grow not in decide(seen("Running", guest, vmi=with_claim("2Gi"))).actions
    assert grow not in decide(seen("Running", unknown)).actions, "it has no claims"


AGENT = {"qemuGuestAgent": {"users": ["root"]}}


def test_credentials_are_in_step_when_the_agent_has_taken_them() -> None:
    source = {"secret": {"secretName": "keys"}}
    keys = {"sshPublicKey": {"source": source, "propagationMethod": AGENT}}
    obj = vmi("Running")
    obj["spec"]["accessCredentials"] = [keys]
    for told_by, state, message, reason, status, event in (
        ("", "", "", "AgentNotConnected", "False", []),
        ("Synchronized", "Synchronized", "", "", "True", ["AccessCredentialsSyncSuccess"]),
        ("Failed", "Failed", "no user x", "SyncFailed", "False", ["AccessCredentialsSyncFailed"]),
    ):
        assert RUNS.domain is not None, told_by
        domain = structs.replace(RUNS.domain, credentials=state, credentials_message=message)
        plan = decide(seen("Running", replace(RUNS, domain=domain), vmi=obj))
        assert conditions(plan)["AccessCredentialsSynchronized"] == (status, reason)
        assert told(plan) == event
    assert "AccessCredentialsSynchronized" not in conditions(decide(seen("Running")))


def with_devices(phase: str) -> dict[str, Any]:
    obj = vmi(phase)
    devices = obj["spec"]["domain"]["devices"]
    devices["hostDevices"] = [{"name": "crypto", "deviceName": "qat.intel.com/cy"}]
    return obj


def test_a_device_of_the_node_that_ails_is_told_once_and_so_is_its_recovery() -> None:
    ails = Ailing("qat.intel.com/cy", ("0000:3d:01.0",), "NoHeartbeat", "It has no heartbeat")
    guest = replace(RUNS, domain=structs.replace(RUNNING, host_devices={"crypto": "0000:3d:01.0"}))
    obj = with_devices("Running")
    unknown = decide(seen("Running", guest, vmi=obj))
    assert "HostDevicesHealthy" not in conditions(unknown)
    well = decide(seen("Running", guest, vmi=obj, ailing=()))
    assert conditions(well)["HostDevicesHealthy"] == ("True", "")
    obj = after(well, obj)
    plan = decide(seen("Running", guest, vmi=obj, ailing=(ails,)))
    assert conditions(plan)["HostDevicesHealthy"] == ("False", "NoHeartbeat")
    assert told(plan) == ["HostDeviceUnhealthy"]
    assert "crypto (0000:3d:01.0): It has no heartbeat" in plan.actions[-1].message  # type: ignore
    obj = after(plan, obj)
    assert decide(seen("Running", guest, vmi=obj, ailing=(ails,))).actions == ()
    assert decide(seen("Running", guest, vmi=obj)).actions == (), (
        "what is not known changes nothing"
    )
    again = decide(seen("Running", guest, vmi=obj, ailing=()))
    assert told(again) == ["HostDeviceHealthy"]
    none = decide(seen("Running", RUNS, ailing=(ails,)))
    assert "HostDevicesHealthy" not in conditions(none), "a guest without devices"


def test_a_network_card_s_function_that_ails_is_told_as_other_devices_are() -> None:
    ails = Ailing("intel.com/sriov", ("0000:5e:02.0",), "DeviceRemoved", "It is gone")
    own = OwnDevice(name="fast", kind="pci", address="0000:5e:02.0")
    guest = replace(RUNS, domain=structs.replace(RUNNING, devices=(own,)))
    obj = vmi("Running")
    obj["spec"]["domain"]["devices"]["interfaces"] = [{"name": "fast", "sriov": {}}]
    obj["spec"]["networks"] = [{"name": "fast", "multus": {"networkName": "vfs"}}]
    plan = decide(seen("Running", guest, vmi=obj, ailing=(ails,)))
    assert conditions(plan)["HostDevicesHealthy"] == ("False", "DeviceRemoved")
    assert told(plan) == ["HostDeviceUnhealthy"]
    assert "fast (0000:5e:02.0): It is gone" in plan.actions[-1].message  # type: ignore


def test_the_kinds_of_devices_that_could_move_are_noted_beside_what_others_noted() -> None:
    own = OwnDevice(name="crypto", kind="pci", id="8086:4941", services="sym;asym", moves=True)
    guest = replace(RUNS, domain=structs.replace(RUNNING, devices=(own,)))
    obj = with_devices("Running")
    obj["metadata"]["annotations"] = {"a": "b"}

    def noted(plan: Plan) -> Any:
        """The plan rests on the annotations that were read."""
        [patch] = [each for each in plan.actions if isinstance(each, Patch)]
        test, new = (each for each in patch.body if each["path"] == "/metadata/annotations")
        assert (test["op"], test["value"]) == ("test", obj["metadata"]["annotations"])
        return new["value"]

    plan = decide(seen("Running", guest, vmi=obj))
    told = {"a": "b", "virtpod.io/host-devices": '{"crypto":"8086-4941.cy"}'}
    assert noted(plan) == told
    obj = after(plan, obj)
    obj["metadata"]["annotations"] = told
    assert decide(seen("Running", guest, vmi=obj)).actions == ()
    assert noted(decide(seen("Running", RUNS, vmi=obj))) == {"a": "b"}


def test_a_guest_that_cannot_start_says_which_device_ails() -> None:
    ails = Ailing("qat.intel.com/cy", ("0000:3d:01.0",), "DeviceRemoved", "It is gone")
    failed = replace(LISTENS, failure=Failure("HypervisorRefused", "no such device", at=NOW))
    obj = with_devices("Scheduled")
    plan = decide(seen("Scheduled", failed, vmi=obj, ailing=(ails,)))
    assert conditions(plan)["HostDevicesHealthy"] == ("False", "DeviceRemoved")
    assert told(plan) == ["HostDeviceUnhealthy", "SyncFailed"]
    obj = after(plan, obj)
    plan = decide(seen("Scheduled", failed, vmi=obj, ailing=()))
    assert told(plan) == ["HostDeviceHealthy"]


def test_what_failed_is_tried_again_only_while_it_is_wanted() -> None:
    failed = Failure("HotplugFailed", "busy", at=NOW - LONGEST_PAUSE, of=Rewire(POD_UID))
    soon = replace(failed, at=NOW)
    cable = {"name": "default", "masquerade": {}, "state": "down"}
    obj = vmi("Running")
    obj["spec"]["domain"]["devices"]["interfaces"] = [cable]
    wrong = domain("Running", interfaces=[InterfaceSeen(name="default")])
    assert decide(seen("Running", wrong, vmi=obj)).actions == (Rewire(POD_UID),)
    again = decide(seen("Running", replace(wrong, unwired=soon), vmi=obj))
    assert again.again_in == 1.0
    assert decide(seen("Running", replace(wrong, unwired=failed), vmi=obj)).actions == (
        Rewire(POD_UID),
    )
    other = replace(soon, of=Rewire("another"))
    assert decide(seen("Running", replace(wrong, unwired=other), vmi=obj)).actions == (
        Rewire(POD_UID),
    )
    # Its user has thought better of it.
    right = domain("Running", interfaces=[InterfaceSeen(name="default", down=True)])
    for failure in (soon, failed):
        left = replace(right, unwired=failure, unplugged=failure, ungrown=failure, unlent=failure)
        assert decide(seen("Running", left, vmi=obj)).again_in is None
