"""Logs: a constant message and fields, as text for eyes or JSON for machines.

    log.info("decided", extra={"key": "default/vm", "why": "pod is gone"})

VIRTPOD_LOG is the level (debug, info, warning, error), VIRTPOD_LOG_FORMAT is text or json.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def setup(component: str, environ: Mapping[str, str] = os.environ) -> None:
    """Once, first thing in `main`."""
    handler = logging.StreamHandler(sys.stderr)
    as_json = environ.get("VIRTPOD_LOG_FORMAT", "text") == "json"
    handler.setFormatter(Json(component) if as_json else Text(component))
    level = environ.get("VIRTPOD_LOG", "info").upper()
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def verbosity(level: int | None) -> None:
    """KubeVirt's numbers, at any time: 0 warnings only, up to 3 what is decided and done, more:
    each request too. None: as the process was started."""
    if level is None:
        name: str | int = os.environ.get("VIRTPOD_LOG", "info").upper()
    else:
        name = logging.WARNING if level <= 0 else logging.INFO if level < 4 else logging.DEBUG
    logging.getLogger().setLevel(name)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in ORDINARY}


class Text(logging.Formatter):
    """2026-01-31T12:00:00.123Z INFO virt-api decided key=default/vm why="pod is gone" """

    def __init__(self, component: str) -> None:
        super().__init__()
        self.component = component

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_stamp(record)} {record.levelname} {self.component} {record.getMessage()}"
        told = "".join(f" {name}={_quoted(value)}" for name, value in fields(record).items())
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return head + told + trace


class Json(logging.Formatter):
    def __init__(self, component: str) -> None:
        super().__init__()
        self.component = component

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": _stamp(record),
            "level": record.levelname.lower(),
            "component": self.component,
            "logger": record.name,
            "msg": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _stamp(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"


def _quoted(value: Any) -> str:
    text = str(value)
    plain = text and all(char.isprintable() and char not in ' "=' for char in text)
    return text if plain else json.dumps(text)
