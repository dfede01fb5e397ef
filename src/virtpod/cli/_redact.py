"""What is taken out of a support bundle before it is written: nobody else's secrets leave.

By the names of fields (cloud-init's user data, passwords, tokens), by what texts look like, and
by value: what was found in a field is looked for everywhere else, logs included.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

MARK = "(redacted)"
SHORTEST = 6
"""Characters of a value that is looked for elsewhere: shorter ones would be found in anything."""

_FIELD = re.compile(
    r"(?:user_?data|network_?data|ignition_?data|password|passwd|passphrase|token|private_?key"
    r"|authorization|credentials?)(?:base64)?$",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"pass|token|secret|key|credential", re.IGNORECASE)
_IN_TEXT = re.compile(
    r"""((?:[\w-]*(?:password|passwd|passphrase|token|secret)"""
    r"""(?!s?names?\b|s?refs?\b)[\w-]*|authorization)"""
    r"""["']?\s*[:=]\s*["']?(?:bearer\s+)?)([^\s"',;<>]+)""",
    re.IGNORECASE,
)
_LOOKS = (
    re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),  # JSON web tokens
    re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S
    ),
)
_ASSIGNED = re.compile(r"""[\w-]+["']?\s*[:=]\s*["']?([^\s"',\[\]{}]+)""")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Redactor:
    """Learns secrets from objects, and takes them out of objects and texts."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def learn(self, value: Any) -> None:
        """The secrets of an object. All objects come before the texts, which may repeat them."""
        for secret in _secrets(value):
            for text in (secret, _decoded(secret)):
                self._values.update(_parts(text))

    def json(self, value: Any) -> Any:
        """A copy without them."""
        match value:
            case dict():
                return {key: self._field(value, key) for key in value}
            case list() | tuple():
                return [self.json(each) for each in value]
            case str():
                return self.text(value)
        return value

    def text(self, text: str) -> str:
        for secret in sorted(self._values, key=len, reverse=True):
            if secret in text:
                text = text.replace(secret, MARK)
        for look in _LOOKS:
            text = look.sub(MARK, text)
        return _IN_TEXT.sub(rf"\1{MARK}", text)

    def _field(self, owner: dict[str, Any], key: str) -> Any:
        value = owner[key]
        if _sensitive(owner, key):
            return MARK
        if key == _LAST_APPLIED and isinstance(value, str):
            try:
                return json.dumps(self.json(json.loads(value)))
            except ValueError:
                return MARK
        return self.json(value)


def _sensitive(owner: dict[str, Any], key: str) -> bool:
    """Whether a field holds a secret itself, not the name of one."""
    if not isinstance(owner[key], str) or not owner[key]:
        return False
    if _FIELD.search(key):
        return True
    if key == "value" and isinstance(owner.get("name"), str):
        return bool(_VARIABLE.search(owner["name"]))  # an environment variable
    if key == "value" and isinstance(owner.get("path"), str):
        return bool(_FIELD.search(owner["path"].rpartition("/")[2]))  # a JSON patch
    return False


def _secrets(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for key, each in value.items():
                if _sensitive(value, key):
                    yield each
                elif key == _LAST_APPLIED and isinstance(each, str):
                    try:
                        yield from _secrets(json.loads(each))
                    except ValueError:
                        yield each
                else:
                    yield from _secrets(each)
        case list() | tuple():
            for each in value:
                yield from _secrets(each)


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _parts(text: str) -> Iterator[str]:
    """A value of one line; of a document, its lines that name a secret, and the values in them, as
    a guest may log them."""
    if "\n" not in text:
        yield from _long([text])
        return
    for line in text.splitlines():
        if _VARIABLE.search(line):
            yield from _long([line.strip() if _IN_TEXT.search(line) else ""])
            yield from _long(found[1] for found in _ASSIGNED.finditer(line))
    # Below `chpasswd: list: |` and its like, name:password.
    for block in re.findall(r"(?:list|users|passwords):\s*\|?\s*\n((?:[ \t]+\S.*\n?)+)", text):
        yield from _long(line.rpartition(":")[2].strip() for line in block.splitlines())


def _long(values: Iterable[str]) -> Iterator[str]:
    return (value for value in values if len(value) >= SHORTEST)
