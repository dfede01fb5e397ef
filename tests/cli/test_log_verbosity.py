"""virtctl adm log-verbosity, and what a component makes of it."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kube.fake import FakeCluster
from virtpod.api.kubevirt import KubeVirt
from virtpod.cli import __main__ as cli
from virtpod.cli import adm_log_verbosity as command
from virtpod.cli.session import Failure, Session
from virtpod.installation import project, verbosity
from virtpod.kube import log
from virtpod.kube.resources import KUBEVIRTS


def args(*words: str) -> argparse.Namespace:
    parser = cli.Parser()
    command.arguments(parser)
    return parser.parse_args(words)


def test_levels_are_set_and_shown() -> None:
    assert command.asked(args("--virt-api", "--virt-handler"))[1] == ["virt-api", "virt-handler"]
    assert command.asked(args("--all"))[1] == list(command.COMPONENTS)
    assert command.asked(args("--virt-api=4", "--reset", "virt-operator"))[0] == {
        "virtAPI": 4,
        "virtOperator": None,
    }
    levels, _ = command.asked(args("--all=5", "--virt-controller=0"))
    assert levels == {**dict.fromkeys(command.COMPONENTS.values(), 5), "virtController": 0}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name a component"),
        (("--all=10",), "--all is a level from 0 to 9"),
        (("--virt-api=-1",), "is a level from 0 to 9"),
        (("--virt-api", "--virt-handler=3"), "not both at once"),
    ],
)
def test_what_cannot_be_is_told(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(Failure, match=told):
        command.asked(args(*words))


async def test_only_what_is_asked_for_changes(fake: FakeCluster) -> None:
    developer: dict[str, Any] = {"logVerbosity": {"virtAPI": 7}, "useEmulation": True}
    cr = {
        "metadata": {"namespace": "machines", "name": "kubevirt"},
        "spec": {"configuration": {"developerConfiguration": developer}},
    }
    fake.put(KUBEVIRTS, cr)
    async with fake.client("virtctl") as client:
        session = Session(client, "team")
        home, before = await command._installed(session)
        assert (home, before) == (("machines", "kubevirt"), {"virtAPI": 7})
        await command._set(session, home, {"virtAPI": None, "virtHandler": 4})
    found = fake.get(KUBEVIRTS, "machines", "kubevirt")
    assert found["spec"]["configuration"]["developerConfiguration"] == {
        "logVerbosity": {"virtHandler": 4},
        "useEmulation": True,
    }


def of(logs: str) -> KubeVirt:
    found = project(
        b'{"metadata": {}, "spec": {"configuration": {"developerConfiguration": '
        b'{"logVerbosity": ' + logs.encode() + b"}}}}"
    )
    assert found
    return found


@pytest.mark.configures(
    "configuration.developerConfiguration.logVerbosity.nodeVerbosity",
    "configuration.developerConfiguration.logVerbosity.virtHandler",
)
def test_a_node_may_differ_from_the_others() -> None:
    told = of('{"virtHandler": 3, "nodeVerbosity": {"node2": 5}}')
    assert verbosity(told, "virt_handler", "node1") == 3
    assert verbosity(told, "virt_handler", "node2") == 5
    assert verbosity(told, "virt_api") is None
    assert verbosity(None, "virt_api") is None


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    found = logging.getLogger()
    before = found.level
    yield found
    found.setLevel(before)


def test_a_level_is_what_is_logged(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTPOD_LOG", "error")
    for level, expected in (
        (0, logging.WARNING),
        (2, logging.INFO),
        (3, logging.INFO),
        (4, logging.DEBUG),
        (None, logging.ERROR),
    ):
        log.verbosity(level)
        assert root.level == expected
