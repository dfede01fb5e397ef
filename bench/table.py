"""The table: ours beside KubeVirt's, what is wanted, and whether that is met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

FIGURES = Path(__file__).parent / "kubevirt.json"
NO_LATENCY = ("cpu", "install", "removal")
"""Seconds that a plain pod has nothing to say of."""


class Figure(msgspec.Struct, frozen=True):
    """A row: what KubeVirt needs, as a range, and the most that is wanted of us."""

    id: str
    what: str
    unit: str
    low: float | None = None
    high: float | None = None
    wanted: float | None = None


class Figures(msgspec.Struct, frozen=True):
    source: str
    rows: list[Figure]
    timeline: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Row:
    figure: Figure
    ours: float
    ratio: float | None  # to a plain pod of the same image in the same run

    @property
    def met(self) -> bool | None:
        return None if self.figure.wanted is None else self.ours <= self.figure.wanted


def figures() -> Figures:
    return msgspec.json.decode(FIGURES.read_bytes(), type=Figures)


def rows(known: Figures, measured: Mapping[str, float]) -> list[Row]:
    """One for each thing that was measured, in the order of the figures."""
    plain = measured.get("plain.running")
    found = []
    for figure in known.rows:
        if figure.id in measured:
            ours = measured[figure.id]
            latency = figure.unit == "s" and figure.id.partition(".")[0] not in NO_LATENCY
            found.append(Row(figure, ours, ours / plain if latency and plain else None))
    return found


def number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "-"
    digits = 0 if unit == "MiB" else 2 if unit == "s" else 1
    text = f"{value:.{digits}f}"
    return f"{text.removesuffix('.0')} {unit}".rstrip()


def span(figure: Figure) -> str:
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return number(figure.low, figure.unit)
    return f"{figure.low:g}-{number(figure.high, figure.unit)}"


def compared(found: Iterable[Row]) -> str:
    said = {True: "met", False: "NOT MET", None: ""}
    lines = [("", "KubeVirt", "wanted", "ours", "x plain pod", "")]
    lines += [
        (
            row.figure.what,
            span(row.figure),
            "-" if row.figure.wanted is None else f"≤ {number(row.figure.wanted, row.figure.unit)}",
            number(row.ours, row.figure.unit),
            "" if row.ratio is None else f"{row.ratio:.2f}",
            said[row.met],
        )
        for row in found
    ]
    return columns(lines)


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Text in columns: the first one to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
