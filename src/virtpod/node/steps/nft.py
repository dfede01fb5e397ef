"""One nftables table, replaced as a whole in one transaction.

https://wiki.nftables.org/wiki-nftables/index.php/Atomic_rule_replacement
"""

from __future__ import annotations

import subprocess

from virtpod.domain.steps import Nft

TIMEOUT = 10
"""Seconds."""


class NftFailed(Exception):
    """nft refused the rules; the text is its own."""


def script(step: Nft) -> str:
    """The first line makes the table's removal possible where there is none yet."""
    name = f"{step.family} {step.table}"
    return f"table {name} {{}}\ndelete table {name}\ntable {name} {{\n{step.body}}}\n"


def replace(step: Nft) -> None:
    """In the calling thread's network namespace, which the child process is born into."""
    ended = subprocess.run(
        ["nft", "-f", "-"],
        input=script(step).encode(),
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    if ended.returncode != 0:
        raise NftFailed(ended.stderr.decode(errors="replace").strip()[:1000])
