"""What virt-handler asks the kubelet of its CPUs, over a socket as the kubelet's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.pod_resources import kubelet
from virtpod.node import cpus


@pytest.mark.parametrize(("own", "expected"), [([], False), ([2, 3], True)])
async def test_a_kubelet_that_names_cpus_gives_them(
    tmp_path: Path, own: list[int], expected: bool
) -> None:
    async with kubelet(tmp_path, cpus=own):
        assert await cpus.exclusive(tmp_path) is expected


async def test_a_kubelet_that_is_away_gives_none(tmp_path: Path) -> None:
    assert await cpus.exclusive(tmp_path) is False
