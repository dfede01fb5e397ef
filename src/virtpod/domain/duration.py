"""Go's notation of time spans, which Kubernetes' objects use: "1h30m", "500ms".

https://pkg.go.dev/time#ParseDuration
"""

from __future__ import annotations

import re

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")


def seconds(duration: str) -> float:
    """Raises ValueError where it is none."""
    parts = _PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"{duration!r} is not a duration such as 168h or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
