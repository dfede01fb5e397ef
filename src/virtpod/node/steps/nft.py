"""nftables tables of the calling thread's network namespace.

The table is made, deleted and made anew in one transaction: there is no moment without rules, and
nothing of an older version stays.

Source: https://wiki.nftables.org/wiki-nftables/index.php/Atomic_rule_replacement
"""

from __future__ import annotations

import subprocess

from virtpod.domain.steps import Nft

WITHIN = 20.0
"""Seconds for nft; it takes some milliseconds."""


def replace(step: Nft) -> None:
    """Raises OSError with nft's own words."""
    name = f"{step.family} {step.table}"
    body = f"table {name}\ndelete table {name}\ntable {name} {{\n{step.body}}}\n"
    try:
        subprocess.run(
            ["nft", "-f", "-"],
            input=body,
            text=True,
            capture_output=True,
            check=True,
            timeout=WITHIN,
        )
    except subprocess.CalledProcessError as error:
        raise OSError(f"nft refused table {name}: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise OSError(f"nft did not answer within {WITHIN:.0f} s") from error
