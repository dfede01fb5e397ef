"""Lives as text, one line per decision; and the same lives in any order, with the same end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.conftest import Golden
from tests.stories import lives
from tests.stories.world import World

HERE = Path(__file__).parent
ALL = [(kind, life) for kind, told in lives.LIVES.items() for life in told]
SEEDS = 25


def name(value: object) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", "")


@pytest.mark.parametrize(("kind", "life"), ALL, ids=name)
def test_the_story(kind: str, life: Callable[[World], None], golden: Golden) -> None:
    world = World()
    life(world)
    folder = HERE / kind
    folder.mkdir(exist_ok=True)
    golden.check(folder / f"{life.__name__}.txt", world.text())


@pytest.mark.parametrize(("kind", "life"), ALL, ids=name)
def test_it_ends_the_same_in_any_order_and_with_caches_that_lag(
    kind: str, life: Callable[[World], None]
) -> None:
    straight = World()
    life(straight)
    for seed in range(SEEDS):
        world = World(Random(seed))
        life(world)
        assert world.end() == straight.end(), f"seed {seed}:\n{world.text()}"


def test_a_vmi_takes_few_writes() -> None:
    """Of virt-controller, create to Running: pod, event, Scheduling, gate, Scheduled. To its end:
    the pod's deletion, an event, the finalizer."""
    world = World()
    world.apply(lives.instance())
    lives.up(world)
    assert len(world.writes) == 5, world.writes
    world.delete(lives.VMIS, "demo")
    world.guest_ends("demo", "Succeeded")
    assert len(world.writes) == 8, world.writes
    assert world.objects == {}
