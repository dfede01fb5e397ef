"""Network cards that come and go while the guest runs, and cables pulled and put in again.

What the spec has is compared with what libvirt has: it makes no difference how often it is asked.
"""

from __future__ import annotations

from xml.etree import ElementTree

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Guest
from virtpod.domain.xml import E, Element, text
from virtpod.launcher import leaving
from virtpod.launcher.hypervisor import Hypervisor, PluggedCard, Refused, StartFailed
from virtpod.launcher.log import log
from virtpod.launcher.processes import ToolFailed
from virtpod.launcher.steps import Steps
from virtpod.render import cards


async def sync(
    vmi: VirtualMachineInstance, facts: Guest, hypervisor: Hypervisor, steps: Steps
) -> None:
    """Raises StartFailed."""
    wanted = {nic.name: nic for nic in vmi.spec.domain.devices.interfaces or ()}
    try:
        have = await hypervisor.cards()
        going = {n: c for n, c in have.items() if n in wanted and wanted[n].state == "absent"}
        for name, card in going.items():
            log("network card is plugged out", interface=name)
            await hypervisor.detach(card)
        for name in [name for name in facts.links if name not in have]:
            only = cards.alone(vmi, name)
            for drawn in cards.cards(only, facts):
                await steps.perform(cards.boot(only, facts))
                log("network card is plugged in", interface=name)
                await hypervisor.attach(text(drawn))
        for name, card in have.items():
            if name in wanted and name not in going:
                await _cable(name, card, hypervisor, down=wanted[name].state == "down")
        await leaving.gone(going, hypervisor.cards, "interface")
    except (Refused, OSError, ToolFailed) as error:
        raise StartFailed("NicHotplug", str(error), final=False) from None


async def _cable(name: str, card: PluggedCard, hypervisor: Hypervisor, *, down: bool) -> None:
    if card.down == down:
        return
    element: Element = ElementTree.fromstring(card.xml)
    for link in element.findall("link"):
        element.remove(link)
    element.append(E("link", state="down" if down else "up"))
    log("network cable is pulled" if down else "network cable is put in", interface=name)
    await hypervisor.update(text(element))
