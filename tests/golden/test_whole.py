"""What holds for all features together, on the golden cases and on mixtures of them.

A feature that nobody asked for can be taken away without changing a byte; whatever is admitted is
drawn; and admission has nothing to add to what it has admitted.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden.test_golden import (
    CASES,
    NOW,
    UUID,
    cluster_of,
    guest_of,
    host_of,
    load,
    name,
    shown,
)
from tests.kube.fake import json_patch
from virtpod.api.base import decode
from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain.facts import Cluster, Guest, Host
from virtpod.features import ALL
from virtpod.render import admit, boot, domain, host, pod

RENDERERS = (admit, boot, domain, host, pod)
ADMITTED = [case for case in CASES if (case / "admitted.yaml").exists()]
SPECS = {name(case): load(case / "vmi.yaml")["spec"] for case in ADMITTED}


def drawn(vmi: VirtualMachineInstance, cluster: Cluster, facts: Guest, links: Host) -> list[Any]:
    return [
        pod.pod(vmi, cluster),
        shown(host.host(vmi, links)),
        shown(boot.boot(vmi, facts)),
        domain.domain(vmi, facts),
    ]


@pytest.mark.parametrize("case", ADMITTED, ids=name)
def test_what_nobody_asked_for_can_be_taken_away(
    case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, cluster, links = load(case / "vmi.yaml"), cluster_of(case), host_of(case)
    before = admit.vmi(raw, cluster, now=NOW, uuid=UUID)
    vmi = msgspec.convert(json_patch(raw, before.patch), VirtualMachineInstance)
    facts = guest_of(case, vmi)
    whole = drawn(vmi, cluster, facts, links)
    # Some are asked for until admission has filled in what they want to be there.
    sent = decode(raw, VirtualMachineInstance)
    asked = tuple(each for each in ALL if each.asked(vmi) or each.asked(sent))
    assert len(asked) < len(ALL)
    for renderer in RENDERERS:
        monkeypatch.setattr(renderer, "ALL", asked)
    assert admit.vmi(raw, cluster, now=NOW, uuid=UUID) == before
    assert drawn(vmi, cluster, facts, links) == whole


def mixed(specs: list[Any]) -> Any:
    """One spec of several: where two say something, the later one; lists by their items' names."""
    first, *others = specs
    for other in others:
        first = _mixed(first, other)
    return first


def _mixed(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        both = {key: _mixed(one[key], other[key]) for key in one.keys() & other.keys()}
        return {**one, **other, **both}
    if isinstance(one, list) and isinstance(other, list):
        named = {_name(item): item for item in (*one, *other)}
        return list(named.values())
    return other


def _name(item: Any) -> str:
    return str(item.get("name", item) if isinstance(item, dict) else item)


@given(st.lists(st.sampled_from(sorted(SPECS)), min_size=2, max_size=4, unique=True), st.booleans())
def test_a_mixture_that_is_admitted_is_drawn(names: list[str], emulation: bool) -> None:
    raw = {**load(ADMITTED[0] / "vmi.yaml"), "spec": mixed([SPECS[each] for each in names])}
    cluster = cluster_of(Path("/nowhere"))
    answer = admit.vmi(raw, cluster, now=NOW, uuid=UUID)
    if answer.causes:
        return
    admitted = json_patch(raw, answer.patch)
    assert admit.vmi(admitted, cluster, now=NOW, uuid=UUID).patch == []
    vmi = msgspec.convert(admitted, VirtualMachineInstance)
    facts = guest_of(Path("/nowhere"), vmi)
    drawn(vmi, cluster, dataclasses.replace(facts, emulation=emulation), Host(links={}))
