"""Rate limits (SLA) of QAT's virtual functions: which there can be.

https://docs.kernel.org/admin-guide/abi-testing.html (sysfs-driver-qat_rl)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from virtpod.api.qat import QATRateLimit
from virtpod.domain.qat import LIMITED, setting

WHOLE = 1000
"""Permille: what a device can do for a service, and what its functions are assured of in sum."""


def peak(limit: QATRateLimit) -> int:
    """Permille that a function gets at most."""
    return limit.committed_permille if limit.peak_permille is None else limit.peak_permille


def unfit(
    limits: Sequence[QATRateLimit],
    services: Collection[str] | None = None,
    functions: int | None = None,
) -> tuple[str, str] | None:
    """The field below rateLimits, as `[0].service`, and why a device that does these services for
    so many virtual functions cannot have such limits; None: it can, as far as is known."""
    does = None if services is None else {"dc" if each == "dcc" else each for each in services}
    for index, limit in enumerate(limits):
        name, committed = limit.service, limit.committed_permille
        if name not in LIMITED:
            return f"[{index}].service", f"{name!r} is not known; one of {', '.join(LIMITED)}"
        if name in [each.service for each in limits[:index]]:
            return f"[{index}].service", f"{name} has a limit already; name it once"
        if does is not None and name not in does:
            return f"[{index}].service", f"the device does {setting(does)}, not {name}"
        if not 0 <= committed <= WHOLE:
            return f"[{index}].committedPermille", f"must be from 0 to {WHOLE}"
        if not max(committed, 1) <= peak(limit) <= WHOLE:
            least = max(committed, 1)
            return (
                f"[{index}].peakPermille",
                f"must be from {least} to {WHOLE}: not 0, and not less than committedPermille",
            )
        if functions and functions * committed > WHOLE:
            return (
                f"[{index}].committedPermille",
                f"{functions} functions cannot be assured of {committed} of {WHOLE} each; "
                f"at most {WHOLE // functions}",
            )
    return None
