"""Whatever admission lets in, libvirt takes: machines made at random from the API's types.

VIRTPOD_EXAMPLES asks for more of them, VIRTPOD_SEED for others.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.guest.pod import container
from tests.guest.test_domains import DEFINE
from tests.kube.fake import json_patch
from tests.specs import machines, mended
from virtpod.api.kubevirt import DeveloperConfiguration, KubeVirtConfiguration
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Cluster, Guest
from virtpod.features.gates import resolve
from virtpod.render import boot, domain, pod

EXAMPLES = int(os.environ.get("VIRTPOD_EXAMPLES") or 150)
SEED = int(os.environ.get("VIRTPOD_SEED") or 0)
GATES = ("DownwardMetrics", "VSOCK", "ReservedOverheadMemlock")
CONFIG = KubeVirtConfiguration(
    developer_configuration=DeveloperConfiguration(use_emulation=True, feature_gates=list(GATES))
)
CLUSTER = Cluster(config=CONFIG, gates=resolve(CONFIG), image_volumes=True)
FACTS = Guest(
    emulation=True,
    direct_io=True,
    cpus=tuple(range(0, 600)),
    nodes={0: tuple(range(0, 600, 2)), 1: tuple(range(1, 600, 2))},
)


def drawn() -> list[tuple[dict[str, Any], str]]:
    """Machines that were let in, as they were sent, and their domains."""
    found: list[tuple[dict[str, Any], str]] = []

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(machines())
    def make(machine: dict[str, Any]) -> None:
        answer = mended(machine, CLUSTER)
        if answer is None:
            return
        vmi = msgspec.convert(json_patch(machine, answer.patch), VirtualMachineInstance)
        pod.pod(vmi, CLUSTER)
        boot.boot(vmi, FACTS)
        found.append((machine, domain.domain(vmi, FACTS)))

    make()
    return found


def test_libvirt_takes_whatever_is_let_in(folders: tuple[Path, ...]) -> None:
    found = drawn()
    sys.stdout.write(f"VIRTPOD_SEED={SEED}: {len(found)} of {EXAMPLES} machines were let in\n")
    assert len(found) > EXAMPLES * 0.9
    asked = []
    with container(folders) as made:
        place = made.run / "domains"
        place.mkdir()
        place.chmod(0o777)
        for number, (_, text) in enumerate(found):
            (place / f"{number}.xml").write_text(text)
            asked.append(f"define --validate /run/domains/{number}.xml")
            asked.append("undefine --nvram default_vm")
        (place / "asked").write_text("\n".join([*asked, ""]))
        made.start("sh", "-c", DEFINE)
        made.wait(120 + EXAMPLES)
        said = (place / "said").read_text()
    answers = said.split("virsh # define --validate ")[1:]
    assert len(answers) == len(found), said[-2000:]
    told = [each.partition("virsh # undefine")[0] for each in answers]
    refused = [number for number, each in enumerate(told) if "' defined from" not in each]
    first = [yaml.safe_dump(found[number][0]) + found[number][1] for number in refused[:1]]
    assert not refused, "".join([told[number] for number in refused] + first)
