"""When a running guest's network cards and cables are to be seen to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.controllers import node_nics
from virtpod.controllers.node_nics import Rewire
from virtpod.wire.messages import InterfaceSeen

LINK = "pod16477688c0e"
"""Of the network called blue."""


def vmi(state: str | None = None, blue: str | None = None) -> VirtualMachineInstance:
    interfaces: list[dict[str, Any]] = [{"name": "default", "masquerade": {}}]
    networks: list[dict[str, Any]] = [{"name": "default", "pod": {}}]
    if state:
        interfaces[0]["state"] = state
    if blue is not None:
        interfaces.append({"name": "blue", "bridge": {}, "state": blue})
        networks.append({"name": "blue", "multus": {"networkName": "blue"}})
    spec = {"domain": {"devices": {"interfaces": interfaces}}, "networks": networks}
    return msgspec.convert({"metadata": {"uid": "u"}, "spec": spec}, VirtualMachineInstance)


UP, DOWN = InterfaceSeen(name="default"), InterfaceSeen(name="default", down=True)
BLUE = InterfaceSeen(name="blue")


@pytest.mark.parametrize(
    ("machine", "links", "guest", "wanted"),
    [
        (vmi(), [], [UP], False),
        (vmi("up"), [], [UP], False),
        (vmi("down"), [], [UP], True),
        (vmi("down"), [], [DOWN], False),
        (vmi("up"), [], [DOWN], True),
        (vmi(blue="up"), [], [UP], False),
        (vmi(blue="up"), [LINK], [UP], True),
        (vmi(blue="up"), [LINK], [UP, BLUE], False),
        (vmi(blue="absent"), [LINK], [UP, BLUE], True),
        (vmi(blue="absent"), [LINK], [UP], False),
    ],
)
def test_what_is_to_be_seen_to(
    machine: VirtualMachineInstance, links: list[str], guest: list[InterfaceSeen], wanted: bool
) -> None:
    assert node_nics.work(machine, "p", links, guest) == (Rewire("p") if wanted else None)


def test_what_the_pod_has_no_link_for_waits() -> None:
    def there(machine: VirtualMachineInstance, links: list[str]) -> list[str]:
        left = node_nics.ready(machine, links).spec.domain.devices.interfaces or []
        return [nic.name for nic in left]

    assert there(vmi(blue="up"), []) == ["default"]
    assert there(vmi(blue="up"), [LINK]) == ["default", "blue"]
