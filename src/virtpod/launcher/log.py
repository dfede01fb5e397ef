"""Log lines on stderr: a constant message, then fields. No logging package: it is start-up time."""

from __future__ import annotations

import json
import sys
import time


def log(message: str, **fields: object) -> None:
    """One line of JSON. Never pass it what a tenant keeps secret."""
    line = {"ts": f"{time.time():.3f}", "msg": message, **fields}
    sys.stderr.write(json.dumps(line, default=str) + "\n")
    sys.stderr.flush()
