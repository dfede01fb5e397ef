"""Who has which claim, as far as this controller's caches and its own last decisions tell.

Two VMIs that appear together must not both be given a claim that only one may have: the first that
is looked at reserves it. The caches may lag behind that decision; the reservation does not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from virtpod.controller.held import Attachment, Held, HeldNode, project_attachment
from virtpod.controllers import claims, launcher_pod, lifecycle
from virtpod.kube import errors
from virtpod.kube.client import Client
from virtpod.kube.resources import PVCS, VOLUME_ATTACHMENTS, Key, Obj
from virtpod.kube.store import Informer


class Claim(NamedTuple):
    info: Obj
    """As a VMI's status says it."""
    volume: str
    """The name of its PersistentVolume, once it is bound."""


class Found(NamedTuple):
    """What there is of a VMI's claims; the keys are their names."""

    known: dict[str, Obj]
    holders: dict[str, str]
    """Those that another VMI has, and its name."""
    attached: dict[str, str]
    """Those whose volume is attached to a node that is lost, and its name."""


class Claims:
    """`again` is called for each VMI whose claims are to be looked at once more."""

    def __init__(
        self,
        client: Client,
        vmis: Informer[Held],
        pods: Informer[Held],
        nodes: Informer[HeldNode],
    ) -> None:
        self.again: Callable[[Key], None] = lambda _key: None
        self.known: Informer[Claim] = Informer(client, PVCS, project=_project)
        self.attachments: Informer[Attachment] = Informer(
            client, VOLUME_ATTACHMENTS, project=project_attachment, indices={"volume": _volume}
        )
        self._client = client
        self._vmis = vmis
        self._pods = pods
        self._nodes = nodes
        self._reserved: defaultdict[Key, set[str]] = defaultdict(set)
        """By claim: the uids of the VMIs that it was given to."""
        self._awaited: defaultdict[Key, set[Key]] = defaultdict(set)
        """By claim: the VMIs that wait for it."""
        self.known.on_change(self._claim_changed)
        self.attachments.on_change(self._attachment_changed)
        vmis.on_change(self._vmi_changed)
        pods.on_change(self._pod_changed)

    async def seen(self, key: Key, obj: Obj, *, hotplug: bool) -> Found:
        """Where nothing is in the VMI's way, its claims are its own from now on. `hotplug`: also
        those of volumes that are attached while its guest runs."""
        uses = claims.uses(obj, hotplug=hotplug)
        found: dict[str, Claim] = {}
        for name in uses:
            claim = Key(key.namespace, name)
            # First listed, then looked for: what changes from here on calls the VMI again.
            self._awaited[claim].add(key)
            if (known := self.known.get(claim) or await self._asked(claim)) is not None:
                found[name] = known
        # From here to the reservation nothing else gets its turn.
        held = {name: who for name, use in uses.items() if (who := self._holder(key, name, use))}
        lost = {
            name: node
            for name, claim in found.items()
            if uses[name] == "writes" and (node := self._lost(claim.volume))
        }
        if len(found) == len(uses) and not held and not lost:
            for name in uses:
                self._awaited[Key(key.namespace, name)].discard(key)
                self._reserved[Key(key.namespace, name)].add(obj["metadata"]["uid"])
        return Found({name: claim.info for name, claim in found.items()}, held, lost)

    def noted(self, key: Key, obj: Obj) -> dict[str, Obj]:
        """What the caches have of a running VMI's claims."""
        held = {name: self.known.get(Key(key.namespace, name)) for name in claims.named(obj)}
        return {name: claim.info for name, claim in held.items() if claim is not None}

    def info(self, claim: Key) -> Obj | None:
        """What the cache has of one."""
        known = self.known.get(claim)
        return None if known is None else known.info

    def give_back(self, key: Key, obj: Obj) -> None:
        """Its pod was not taken: somebody else may have what it would have used."""
        self._release(key.namespace, claims.named(obj), obj["metadata"]["uid"])

    async def _asked(self, claim: Key) -> Claim | None:
        try:
            return _claim(await self._client.get(PVCS, claim))
        except errors.NotFound:
            return None

    def _lost(self, volume: str) -> str:
        """The node that is lost and has the volume attached; "" if there is none.

        On a node that is well, whoever used the volume is known to be gone, and Kubernetes will
        detach it there; a node that is lost may write to it for as long as it is attached.
        """
        for each in self.attachments.by("volume", volume) if volume else ():
            node = self._nodes.get(Key("", each.spec.node_name))
            if node is None or not node.ready:
                return each.spec.node_name
        return ""

    def _holder(self, key: Key, name: str, use: str) -> str:
        """The name of a VMI that has the claim and leaves no room for this use; "" if none."""
        claim = Key(key.namespace, name)
        for other in self._vmis.keys_by("claim", claim):
            held = self._vmis.get(other)
            if other == key or held is None:
                continue
            obj = held.object
            theirs = claims.uses(obj).get(name, "")
            if not claims.together(use, theirs) and self._has(claim, held.uid, obj):
                return other.name
        return ""

    def _has(self, claim: Key, uid: str, obj: Obj) -> bool:
        if pods := self._pods.by("owner", uid):
            return not all(launcher_pod.lies(pod.object) for pod in pods)
        phase = lifecycle.phase_of(obj)
        if phase in ("", "Pending"):
            return uid in self._reserved.get(claim, ())
        return phase not in lifecycle.FINAL

    def _vmi_changed(self, key: Key, old: Held | None, new: Held | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            self._release(key.namespace, old.claims, old.uid)
        for name in new.claims if new else ():
            self._changed(Key(key.namespace, name), but=key)

    def _pod_changed(self, key: Key, old: Held | None, new: Held | None) -> None:
        pod = new or old
        owner = self._vmis.get(Key(key.namespace, pod.owner_name)) if pod else None
        for name in owner.claims if owner else ():
            self._changed(Key(key.namespace, name))

    def _release(self, namespace: str, names: list[str] | tuple[str, ...], uid: str) -> None:
        for name in names:
            claim = Key(namespace, name)
            self._reserved[claim].discard(uid)
            if not self._reserved[claim]:
                del self._reserved[claim]
            self._changed(claim)

    def _claim_changed(self, claim: Key, _old: Claim | None, _new: Claim | None) -> None:
        self._changed(claim)
        for key in self._vmis.keys_by("claim", claim):
            self.again(key)  # it may be larger now

    def _attachment_changed(
        self, _key: Key, old: Attachment | None, new: Attachment | None
    ) -> None:
        attached = new or old
        volume = attached.spec.source.persistent_volume_name if attached else ""
        for claim in list(self._awaited):
            if (known := self.known.get(claim)) is not None and known.volume == volume:
                self._changed(claim)

    def _changed(self, claim: Key, but: Key | None = None) -> None:
        for key in self._awaited.pop(claim, ()):
            if key != but:
                self.again(key)


def _project(raw: bytes) -> Claim:
    return _claim(msgspec.json.decode(raw))


def _claim(obj: Obj) -> Claim:
    return Claim(claims.info(obj), (obj.get("spec") or {}).get("volumeName") or "")


def _volume(_key: Key, attachment: Attachment) -> list[str]:
    name = attachment.spec.source.persistent_volume_name
    return [name] if name else []
