"""What all tests share."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import shown

# How long an example takes says nothing on a machine that does other things too. Examples are the
# same in each run, so that a change is judged by what it changed; `make fuzz` draws others.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("fuzz", settings.get_profile("steady"), derandomize=False)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden",
        action="store_true",
        help="write the golden files instead of comparing with them; review the diff",
    )


class Golden:
    """A file whose content is the expectation. A missing file fails, unless they are rewritten."""

    def __init__(self, rewrite: bool) -> None:
        self._rewrite = rewrite

    def check(self, path: Path, text: str) -> None:
        """Compares `text` with the file; an empty text wants no file."""
        if self._rewrite:
            if text:
                path.write_text(text, encoding="utf-8")
            else:
                path.unlink(missing_ok=True)
            return
        expected = path.read_text(encoding="utf-8") if path.exists() else ""
        assert expected == text, f"{path} differs; `make golden` rewrites it, the diff is to review"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(bool(request.config.getoption("--regenerate-golden")))


@pytest.fixture(scope="module", autouse=True)
def _machines_of_this_module() -> None:
    shown.begin()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Keeps `shows` true: a field that is claimed was in a spec that this module's guests had."""
    result = yield
    claims = [path for mark in item.iter_markers("shows") for path in mark.args]
    absent = shown.missing(claims)
    assert not absent, f"marked as showing {absent}, which no machine of this module has had"
    return result
