"""Raw images in claims."""

from __future__ import annotations

from virtpod.domain.steps import MakeRaw
from virtpod.launcher import claims


def make(step: MakeRaw) -> None:
    """One that is there is the guest's and stays."""
    claims.make(step.folder, step.name, step.most, step.least)
