"""What the guest's agent is told of keys and passwords, and when."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from virtpod.launcher import credentials
from virtpod.launcher.credentials import Keeper, orders
from virtpod.launcher.hypervisor import Entrusted, Refused


def test_keys_of_several_secrets_are_one_list_for_each_user(tmp_path: Path) -> None:
    for name, content in {"a": "key one\n\nkey two", "b": "key two\r\n key three "}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "authorized").write_text(content)
    both = (
        Entrusted(str(tmp_path / "a"), ("anna", "bert")),
        Entrusted(str(tmp_path / "b"), ("anna",)),
    )
    found = {order.arguments["username"]: order.arguments for order in orders(both)}
    assert found["anna"] == {
        "username": "anna",
        "keys": ["key one", "key two", "key three"],
        "reset": True,
    }
    assert found["bert"]["keys"] == ["key one", "key two"]


def test_the_last_key_leaves_the_guest_too(tmp_path: Path) -> None:
    [order] = orders((Entrusted(str(tmp_path), ("anna",)),))
    assert order.arguments == {"username": "anna", "keys": [], "reset": True}


def test_a_password_is_what_its_file_says_without_the_last_line_s_end(tmp_path: Path) -> None:
    (tmp_path / "anna").write_text(" with blanks \n")
    (tmp_path / "..hidden").write_text("x")
    [order] = orders((Entrusted(str(tmp_path)),))
    assert order.command == "guest-set-user-password"
    assert base64.b64decode(order.arguments["password"]) == b" with blanks "
    assert "blanks" not in order.about


def test_a_secret_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "LARGEST", 8)
    (tmp_path / "anna").write_text("123456789")
    with pytest.raises(Refused, match="larger than"):
        orders((Entrusted(str(tmp_path)),))


async def test_what_stands_is_not_given_again_and_what_failed_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "RETRY", 0.05)
    (tmp_path / "anna").write_text("one")
    (tmp_path / "bert").write_text("two")
    given: list[str] = []
    changed, came = asyncio.Event(), asyncio.Event()
    missing = {"bert"}

    async def ask(command: str, arguments: dict[str, Any]) -> None:
        given.append(arguments["username"])
        if given[-1] == "carl":
            came.set()
        if arguments["username"] in missing:
            raise Refused("there is no such user")

    keeper = Keeper((Entrusted(str(tmp_path)),), ask, changed.set)
    task = asyncio.create_task(keeper.run())
    try:
        async with asyncio.timeout(5):
            await changed.wait()
            assert (keeper.state, keeper.message) == (
                "Failed",
                "the password of user bert: there is no such user",
            )
            missing.clear()
            while keeper.state != "Synchronized":
                changed.clear()
                await changed.wait()
            assert given.count("anna") == 1
            (tmp_path / "new").write_text("three")
            (tmp_path / "new").rename(tmp_path / "carl")
            await came.wait()
            assert given.count("anna") == 1
    finally:
        task.cancel()
