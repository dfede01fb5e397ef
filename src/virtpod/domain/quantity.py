"""Kubernetes resource quantities.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from math import ceil

from virtpod.api.base import Quantity

_NUMBER = re.compile(r"([+-]?[0-9]{0,40}(?:\.[0-9]{0,40})?)([eE][+-]?[0-9]{1,3}|[a-zA-Z]{0,2})")
_SCALE = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


def parse(quantity: Quantity) -> Decimal:
    """The quantity in its base unit (bytes, cores). Raises ValueError where it is none."""
    given = str(quantity).strip()
    match = _NUMBER.fullmatch(given)
    if match is None or len(given) > 64:
        raise ValueError(f"{given[:64]!r} is not a quantity such as 128Mi, 2 or 500m")
    digits, suffix = match.groups()
    try:
        if suffix and suffix[0] in "eE" and len(suffix) > 1 and suffix != "Ei":
            return Decimal(digits + suffix)
        return Decimal(digits) * _SCALE[suffix]
    except (InvalidOperation, KeyError):
        raise ValueError(f"{given!r} is not a quantity such as 128Mi, 2 or 500m") from None


def bytes_of(quantity: Quantity) -> int:
    """Bytes (or whole units), rounded up."""
    return ceil(parse(quantity))


def milli(quantity: Quantity) -> int:
    """Thousandths, rounded up: cores as Kubernetes counts them."""
    return ceil(parse(quantity) * 1000)


def binary(size: int) -> str:
    """`size` bytes as the shortest exact quantity with a binary suffix: 134217728 is "128Mi"."""
    for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        unit = int(_SCALE[suffix])
        if size and size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)
