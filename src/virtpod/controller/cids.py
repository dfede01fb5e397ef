"""Which guest has which vsock context ID, as the cache and this process's own last words tell.

Two VMIs that appear together must not be given the same: a number that was chosen is taken from
then on, whether or not the cache shows it yet.
"""

from __future__ import annotations

import msgspec

from virtpod.controller.held import Held
from virtpod.features.devices import vsock
from virtpod.kube.resources import Key
from virtpod.kube.store import Informer


class _Devices(msgspec.Struct):
    attach: bool | None = msgspec.field(default=None, name="autoattachVSOCK")


class _Domain(msgspec.Struct):
    devices: _Devices = msgspec.field(default_factory=_Devices)


class _Spec(msgspec.Struct):
    domain: _Domain = msgspec.field(default_factory=_Domain)


class _Status(msgspec.Struct):
    cid: int = msgspec.field(default=0, name="VSOCKCID")


class _VMI(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


_decoder = msgspec.json.Decoder(_VMI)


class Cids:
    """`of` gives a VMI its number; it has it for as long as it is there."""

    def __init__(self, vmis: Informer[Held]) -> None:
        self._taken: dict[str, int] = {}
        """By the VMI's uid."""
        vmis.on_change(self._changed)

    def of(self, uid: str) -> int:
        if uid not in self._taken:
            self._taken[uid] = vsock.free(uid, set(self._taken.values()))
        return self._taken[uid]

    def _changed(self, _key: Key, old: Held | None, new: Held | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            self._taken.pop(old.uid, None)
        if new is not None and b'"VSOCKCID"' in new.raw and (cid := _cid(new.raw)):
            self._taken[new.uid] = cid


def wanted(raw: bytes) -> bool:
    """Whether the VMI is to have a number; most are not looked into."""
    return b'"autoattachVSOCK"' in raw and bool(_decoder.decode(raw).spec.domain.devices.attach)


def _cid(raw: bytes) -> int:
    return _decoder.decode(raw).status.cid
