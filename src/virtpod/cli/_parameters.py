"""Values of the form `key:value,key:value`, as virtctl's create commands take them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from virtpod.cli.session import Failure

LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""Of generated names: none that make words."""


def parsed(
    flag: str, text: str, known: Iterable[str], required: Iterable[str] = ()
) -> dict[str, str]:
    """The values by their keys. A value may have colons, as URLs do. Raises Failure."""
    found: dict[str, str] = {}
    names = ", ".join(known)
    for part in text.split(","):
        key, colon, value = part.partition(":")
        if key not in known or not colon or not value:
            raise Failure(f'--{flag} "{text}": {part!r} is not KEY:VALUE; keys are {names}')
        if key in found:
            raise Failure(f'--{flag} "{text}": {key} is there twice')
        found[key] = value
    for key in required:
        if key not in found:
            raise Failure(f'--{flag} "{text}" lacks {key}')
    return found


def pairs(flag: str, given: Iterable[str]) -> dict[str, str]:
    """Of `key=value,key=value`, as often as the flag was given. Raises Failure."""
    found: dict[str, str] = {}
    for part in ",".join(given).split(",") if given else ():
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise Failure(f"--{flag} is KEY=VALUE[,KEY=VALUE], not {part!r}")
        found[key] = value
    return found


def number(flag: str, key: str, text: str, least: int = 1) -> int:
    """Raises Failure."""
    if not text.isascii() or not text.isdecimal() or int(text) < least:
        raise Failure(f"--{flag}: {key} is a number from {least} on, not {text!r}")
    return int(text)


def duration(flag: str, text: str) -> float:
    """Seconds. Raises Failure."""
    from virtpod.domain import duration as durations

    try:
        found = durations.seconds(text)
        if found <= 0:
            raise ValueError
    except ValueError:
        raise Failure(f"--{flag} is a duration such as 1h30m, not {text!r}") from None
    return found


def quantity(flag: str, text: str) -> str:
    """A quantity as it is written. Raises Failure."""
    from virtpod.domain import quantity as quantities

    try:
        if quantities.parse(text) <= 0:
            raise ValueError
    except ValueError:
        raise Failure(f"--{flag} is a quantity such as 512Mi, not {text!r}") from None
    return text


def named(given: str, kind: str) -> str:
    """A name of one's own, or one made up."""
    return given or f"{kind}-{suffix()}"


def suffix() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(5))


def print_yaml(manifest: dict[str, Any]) -> int:
    """The exit code."""
    import yaml

    print(yaml.safe_dump(manifest, sort_keys=False, width=1000), end="")
    return 0


def told(error: Failure) -> int:
    """The exit code."""
    import sys

    print(f"error: {error}", file=sys.stderr)
    return 1
