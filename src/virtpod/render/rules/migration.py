"""VirtualMachineInstanceMigration: a guest that exists, can move, and is not moving yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from virtpod.api.migration import VirtualMachineInstanceMigration
from virtpod.domain.moving import TARGETS
from virtpod.features.contract import NOT_FOUND, REQUIRED, UNSUPPORTED, Cause, Json
from virtpod.render.rules import Asked, Look, Rules
from virtpod.render.rules._common import gated, one_of, only_one

PRIORITIES = ("system-critical", "user-triggered", "system-maintenance")
FINAL = ("Succeeded", "Failed")
WHERE = "spec.vmiName"


def _looks(obj: Json) -> Mapping[str, Look]:
    namespace, name = obj["metadata"]["namespace"], obj["spec"]["vmiName"]
    return {
        "vmi": Look("VirtualMachineInstance", namespace, name),
        "migrations": Look("VirtualMachineInstanceMigration", namespace),
    }


def _causes(asked: Asked[VirtualMachineInstanceMigration]) -> Iterable[Cause]:
    spec = asked.new.spec
    if asked.old is not None:
        if asked.old.spec != spec:
            yield Cause("spec", "update of Migration object's spec is restricted", UNSUPPORTED)
        return
    if not spec.vmi_name:
        yield Cause(WHERE, "vmiName is missing", REQUIRED)
        return
    yield from one_of("spec.priority", spec.priority, PRIORITIES)
    if spec.send_to or spec.receive:
        yield from gated("DecentralizedLiveMigration", asked.cluster)
        yield from only_one("spec", spec, {"send_to": "sendTo", "receive": "receive"})
    yield from _movable(asked, spec.vmi_name)
    yield from _in_flight(asked, spec.vmi_name)


def _movable(asked: Asked[VirtualMachineInstanceMigration], name: str) -> Iterable[Cause]:
    vmi = next(iter(asked.seen.get("vmi", ())), None)
    if vmi is None:
        namespace = asked.new.metadata.namespace or ""
        yield Cause(
            WHERE,
            f'the VMI "{namespace}/{name}" does not exist under the cluster',
            NOT_FOUND,
        )
        return
    status = vmi.get("status") or {}
    if status.get("phase") in FINAL:
        yield Cause(WHERE, "Cannot migrate VMI in finalized state.")
    for said in status.get("conditions") or ():
        blocks = said["type"] in ("LiveMigratable", TARGETS) and said["status"] == "False"
        if blocks and not asked.new.spec.receive:
            yield Cause(
                WHERE,
                f"Cannot migrate VMI, Reason: {said.get('reason')}, Message: {said.get('message')}",
            )


def _in_flight(asked: Asked[VirtualMachineInstanceMigration], name: str) -> Iterable[Cause]:
    for other in asked.seen.get("migrations", ()):
        final = (other.get("status") or {}).get("phase") in FINAL
        if (other.get("spec") or {}).get("vmiName") == name and not final:
            uid = other["metadata"].get("uid")
            yield Cause(
                WHERE,
                f"in-flight migration detected. Active migration job ({uid}) is currently already "
                f"in progress for VMI {name}.",
            )
            return


RULES = Rules(VirtualMachineInstanceMigration, _causes, _looks)
