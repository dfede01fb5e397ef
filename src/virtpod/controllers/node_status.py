"""What virt-handler writes of a guest into its VMI's status, and the events that go with it.

Patches test what they rest on, because virt-controller writes conditions of its own into the same
object; what others wrote stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from virtpod.api.access import AccessCredential
from virtpod.controllers import conditions, node_devices, node_hotplug, node_plug, targets
from virtpod.controllers.conditions import Condition
from virtpod.controllers.node_seen import Json, Known
from virtpod.controllers.why import OBSTRUCTED
from virtpod.features.guest import access_credentials
from virtpod.kube.plan import Event, Patch, Plan, tests
from virtpod.kube.resources import VMIS, Key
from virtpod.render.observe import blocks_migration, observe
from virtpod.wire.messages import DomainChanged

SYNCHRONIZED = "AccessCredentialsSynchronized"
WHOLE = ("interfaces",)
"""Lists of the status that are ours alone: what the domain shows no more is taken out."""
ANNOTATIONS = "/metadata/annotations"
"""The one change that is none of the status."""
IMMOBILE = "Live migration is not supported by this version."
CREDENTIALS = {"guest-ssh-add-authorized-keys": "keys", "guest-set-user-password": "password"}
"""Commands of the guest's agent that only access credentials need."""


def news(seen: Known, domain: DomainChanged, changes: Json) -> list[Event]:
    """What is to be told of a running guest with these changes."""
    return [
        *pause_events(seen, domain),
        *_volume_events(seen, changes),
        *_credential_events(seen, domain),
        *device_events(seen),
        *_plug_events(seen, domain),
    ]


def observed(seen: Known, domain: DomainChanged) -> Json:
    """The observed fields that differ from the status."""
    changes = {}
    for name, value in observe(seen.typed, domain, seen.pod.ips, seen.pod.networks).items():
        before = seen.status.get(name)
        after = merged(before, value)
        if name in WHOLE:
            there = {each.get("name") for each in value}
            after = [each for each in after if each.get("name") in there]
        if after != before and (after or before):
            changes[name] = after
    if seen.guest.there is not None:
        before = seen.status.get("volumeStatus") or []
        told = changes.pop("volumeStatus", before)
        failure = seen.guest.unplugged.message if seen.guest.unplugged else ""
        after = node_hotplug.status(
            seen.vmi,
            told,
            seen.guest.there,
            filled(domain),
            failure,
            seen.guest.dumped,
            seen.now,
        )
        if after != before:
            changes["volumeStatus"] = after
    return changes


def filled(domain: DomainChanged) -> dict[str, str]:
    """The guest's disks; of its CD-ROM drives those that have something in them."""
    return {
        name: target
        for name, target in domain.target_devices.items()
        if name not in domain.empty_drives
    }


def _volume_events(seen: Known, changes: Json) -> list[Event]:
    before = seen.status.get("volumeStatus") or []
    after = changes.get("volumeStatus") or before
    told = [seen.event(reason, message) for reason, message in node_hotplug.news(before, after)]
    failure = seen.guest.unplugged
    if failure and failure.message in _messages(after) - _messages(before):
        remedy = "It is tried again by itself; mend what it names."
        told.append(seen.warning("HotplugFailed", failure.message, remedy))
    return told


def _messages(volumes: list[Json]) -> set[str]:
    return {each.get("message") or "" for each in volumes}


def merged(before: Any, after: Any) -> Any:
    """`after`, with what others wrote into the same object or the same named items of a list."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {**before, **after}
    if not isinstance(before, list) or not isinstance(after, list):
        return after
    if not any(isinstance(each, dict) and "name" in each for each in after):
        return after
    new = {each["name"]: each for each in after if "name" in each}
    kept = [{**each, **new.pop(each["name"], {})} for each in before if "name" in each]
    return [*kept, *new.values(), *(each for each in after if "name" not in each)]


def own_conditions(seen: Known, domain: DomainChanged) -> dict[str, Condition | None]:
    """Our conditions as they should be; None: not there."""
    reasons = ". ".join([*blocks_migration(seen.typed, domain), IMMOBILE])
    return {
        "LiveMigratable": conditions.new("LiveMigratable", "False", "NotMigratable", reasons),
        "Paused": _paused(domain),
        "AgentConnected": (
            conditions.new("AgentConnected", "True") if domain.agent_connected else None
        ),
        "AgentVersionNotSupported": _old_agent(seen, domain),
        SYNCHRONIZED: _credentials(seen, domain),
        "Synchronized": None,
        OBSTRUCTED: None,
        **device_conditions(seen),
        node_plug.ALL_PLUGGED: _plugged(seen, domain),
    }


def moving(seen: Known, domain: DomainChanged) -> Json:
    """Of what kinds the devices are that could move with the guest."""
    before = seen.vmi["metadata"].get("annotations") or {}
    said = targets.noted(domain.devices)
    if said == before.get(targets.NEEDS, ""):
        return {}
    others = {name: value for name, value in before.items() if name != targets.NEEDS}
    return {ANNOTATIONS: others | ({targets.NEEDS: said} if said else {})}


def _plugged(seen: Known, domain: DomainChanged) -> Condition | None:
    guest = seen.guest
    failure = guest.unlent.message if guest.unlent else ""
    lent = guest.lent or frozenset()
    return node_plug.condition(seen.vmi, seen.holders, lent, domain.host_devices, failure)


def _plug_events(seen: Known, domain: DomainChanged) -> list[Event]:
    before = conditions.find(conditions.of(seen.vmi), node_plug.ALL_PLUGGED) or {}
    after = _plugged(seen, domain) or {}
    if not after or conditions.same(before, after):
        return []
    if after["status"] == "True":
        return [seen.event("HostDevicesPlugged", f"{after['message']}.")]
    if after.get("reason") != node_plug.FAILED:
        return []
    remedy = "It is tried again by itself; mend what it names."
    return [seen.warning(node_plug.FAILED, after["message"], remedy)]


def device_conditions(seen: Known) -> dict[str, Condition | None]:
    """Whether the node's devices that the guest has are well, where that is known."""
    if seen.ailing is None:
        return {}
    domain = seen.guest.domain
    names: dict[str, str] = {}
    if domain:
        functions = {each.name: each.address for each in domain.devices if each.address}
        names = functions | domain.host_devices
    found = node_devices.condition(seen.typed, seen.ailing, names)
    return {node_devices.HEALTHY: found}


def device_events(seen: Known) -> list[Event]:
    before = conditions.find(conditions.of(seen.vmi), node_devices.HEALTHY) or {}
    after = device_conditions(seen).get(node_devices.HEALTHY)
    if after is None:
        return []
    if after["status"] == "False" and after.get("message") != before.get("message"):
        remedy = "The condition HostDevicesHealthy says when they are well again."
        return [seen.warning("HostDeviceUnhealthy", after["message"], remedy)]
    if after["status"] == "True" and before.get("status") == "False":
        return [seen.event("HostDeviceHealthy", "The guest's devices of the node are well again.")]
    return []


def _old_agent(seen: Known, domain: DomainChanged) -> Condition | None:
    """Its agent lacks what the API promises, or what the spec's credentials need."""
    wanted = [name for name in domain.agent_lacks if name not in CREDENTIALS]
    kinds = {kind for each in seen.typed.spec.access_credentials or () for kind in _by_agent(each)}
    wanted += [name for name, kind in CREDENTIALS.items() if kind in kinds]
    lacks = [name for name in wanted if name in domain.agent_lacks]
    if not domain.agent_connected or not lacks:
        return None
    message = (
        f"The guest agent does not know, or was told not to do: {', '.join(lacks)}. Update "
        "qemu-guest-agent in the guest, or have it allow these commands."
    )
    return conditions.new("AgentVersionNotSupported", "True", "CommandsMissing", message)


def _by_agent(credential: AccessCredential) -> Iterator[str]:
    keys, password = credential.ssh_public_key, credential.user_password
    if keys and keys.propagation_method.qemu_guest_agent:
        yield "keys"
    if password and password.propagation_method.qemu_guest_agent:
        yield "password"


def _credentials(seen: Known, domain: DomainChanged) -> Condition | None:
    """Whether the guest has the keys and passwords that its agent is to give it."""
    if not access_credentials.by_agent(seen.vmi["spec"]):
        return None
    if domain.credentials == "Synchronized":
        return conditions.new(SYNCHRONIZED, "True")
    if domain.credentials == "Failed":
        return conditions.new(SYNCHRONIZED, "False", "SyncFailed", domain.credentials_message)
    what = "The guest agent is not connected yet; what it is to be given waits"
    return conditions.new(SYNCHRONIZED, "False", "AgentNotConnected", what)


def _credential_events(seen: Known, domain: DomainChanged) -> list[Event]:
    before = conditions.find(conditions.of(seen.vmi), SYNCHRONIZED) or {}
    after = _credentials(seen, domain) or {}
    same = [before.get(each) == after.get(each) for each in ("status", "message")]
    if not domain.credentials or all(same):
        return []
    if domain.credentials == "Synchronized":
        return [seen.event("AccessCredentialsSyncSuccess", "Access credentials sync successful.")]
    what = f"Access credentials sync failed: {domain.credentials_message}"
    remedy = "It is tried again by itself; look for the users, and for a newer agent, in the guest."
    return [seen.warning("AccessCredentialsSyncFailed", what, remedy)]


def _paused(domain: DomainChanged) -> Condition | None:
    if domain.state != "Paused" or domain.reason == "Dump":
        return None  # while its memory is written down, nobody has paused it
    if domain.reason == "IOError":
        message = domain.message or "VMI was paused, an I/O error was detected"
        return conditions.new("Paused", "True", "PausedIOError", message)
    if domain.reason == "Migration":
        message = "VMI was paused by the migration monitor"
        return conditions.new("Paused", "True", "PausedByMigrationMonitor", message)
    return conditions.new("Paused", "True", "PausedByUser", "VMI was paused by user")


def pause_events(seen: Known, domain: DomainChanged) -> list[Event]:
    wanted = _paused(domain)
    if not wanted or wanted["reason"] != "PausedIOError":
        return []
    before = conditions.find(conditions.of(seen.vmi), "Paused")
    if before and before.get("reason") == "PausedIOError":
        return []
    remedy = "Mend the storage or make room on it, then the guest can go on."
    return [seen.warning("IOerror", wanted["message"], remedy)]


def with_conditions(seen: Known, wanted: Mapping[str, Condition | None]) -> Json:
    """`{"conditions": ...}` where one differs; other people's are left as they are."""
    before = after = conditions.of(seen.vmi)
    for kind, condition in wanted.items():
        if condition is None:
            after = conditions.without(after, kind)
        else:
            after = conditions.put(after, condition, seen.now)
    return {"conditions": after} if after != before else {}


def written(
    why: str, seen: Known, changes: Json, events: list[Event], again_in: float | None = None
) -> Plan:
    """The patch first: an event tells what has been written."""
    return Plan(why, [_patch(seen, changes), *events], again_in=again_in)


def _patch(seen: Known, changes: Json) -> Patch:
    """One JSON patch, of the status and annotations, which fails where what it rests on has
    changed."""
    metadata = seen.vmi["metadata"]
    rests_on = ["/metadata/uid", "/status/phase"]
    rests_on += [_path(name) for name in changes if name != "phase"]
    operations = tests(seen.vmi, *rests_on)
    for name, value in changes.items():
        path = _path(name)
        if value is None:
            operations.append({"op": "remove", "path": path})
        else:
            operations.append({"op": "add", "path": path, "value": value})
    return Patch(VMIS, Key(metadata["namespace"], metadata["name"]), operations, "json")


def _path(name: str) -> str:
    return name if name == ANNOTATIONS else f"/status/{name}"
