"""Log lines on stderr: a constant message, then fields. No logging package: it is start-up time."""

from __future__ import annotations

import json
import os
import sys
import time

from virtpod.domain import paths

OF_LIBVIRT = 5
"""The verbosity from which on libvirtd tells all it does, too."""


def verbosity() -> int:
    """As the cluster says; 2 where it does not."""
    told = os.environ.get(paths.VERBOSITY_ENV, "")
    return int(told) if told.isdecimal() else 2


def log(message: str, **fields: object) -> None:
    """One line of JSON; of verbosity 0, those that tell of an error only. Never pass it what a
    tenant keeps secret."""
    if "error" not in fields and verbosity() <= 0:
        return
    line = {"ts": f"{time.time():.3f}", "msg": message, **fields}
    sys.stderr.write(json.dumps(line, default=str) + "\n")
    sys.stderr.flush()
