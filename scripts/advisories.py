"""docs/advisories.md: published mistakes, and the tests that would have caught them here.

From tests/rules/advisories.yaml, which tests/rules/test_advisories.py holds to the tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).parent.parent / "tests" / "rules" / "advisories.yaml"


def page() -> str:
    rows: list[dict[str, Any]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    lines = [
        "# Advisories",
        "",
        "Made by `make docs` from `tests/rules/advisories.yaml`: what was published of KubeVirt",
        "and of what stands beside it, what is done here instead, and the tests that would have",
        "caught it. Classes of mistakes without an advisory of their own follow.",
    ]
    for row in rows:
        lines += ["", f"## {row['id']}", "", row["what"], ""]
        if none := row.get("none"):
            lines.append(f"No test: {none}")
            continue
        lines += [row["here"], ""]
        lines += [f"- `{test}`" for test in row["tests"]]
    return "\n".join(lines) + "\n"
