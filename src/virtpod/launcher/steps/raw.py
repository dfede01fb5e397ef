"""Raw images in claims."""

from __future__ import annotations

from virtpod.domain.steps import GrowRaw, MakeRaw
from virtpod.launcher import claims


def make(step: MakeRaw) -> None:
    """One that is there is the guest's and stays."""
    claims.make(step.folder, step.name, step.most, step.least)


def grow(step: GrowRaw) -> None:
    """Before the guest has it open."""
    claims.grow(step.folder, step.name, step.most)
