"""apt's sources with the backports, as mmdebstrap and as Debian's container images write them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from images import debian

LINES = """\
deb http://mirror.example/debian trixie main
deb http://mirror.example/debian trixie-updates main
deb http://mirror.example/debian-security trixie-security main
"""
PARAGRAPHS = """\
Types: deb
URIs: http://mirror.example/debian
Suites: trixie trixie-updates
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: trixie-security
Components: main
"""


@pytest.mark.parametrize(
    ("source", "content", "changed", "after"),
    [
        (
            "sources.list",
            LINES,
            "sources.list.d/backports.list",
            "deb http://mirror.example/debian trixie-backports main\n",
        ),
        (
            "sources.list.d/debian.sources",
            PARAGRAPHS,
            "sources.list.d/debian.sources",
            PARAGRAPHS.replace("-updates", "-updates trixie-backports"),
        ),
    ],
    ids=["lines", "paragraphs"],
)
def test_apt_looks_into_the_backports(
    tmp_path: Path, source: str, content: str, changed: str, after: str
) -> None:
    apt = tmp_path / "etc/apt"
    (apt / "sources.list.d").mkdir(parents=True)
    (apt / source).write_text(content)
    subprocess.run(["sh", debian.SUITES, tmp_path], check=True)
    assert (apt / changed).read_text() == after
