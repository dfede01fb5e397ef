"""Keys and passwords from secrets, as the guest has them."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guest.conftest import VMI, admitted
from tests.guest.pod import Container, Serial, connected
from virtpod.domain import paths
from virtpod.wire.messages import DomainChanged, Done

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} {}@example.org"
ANNA, BERT, CARL = (KEY.format(name[0] * 43, name) for name in ("anna", "bert", "carl"))


class Secret:
    """A mounted secret, which is exchanged as the kubelet does it."""

    def __init__(self, box: Container, name: str) -> None:
        self.place = box.inside(paths.credentials_folder(name))
        self.place.mkdir()
        self._version = 0

    def has(self, **files: str) -> None:
        self._version += 1
        name = f"..version_{self._version}"
        content = self.place / name
        content.mkdir()
        for key, value in files.items():
            (content / key).write_text(value)
        new = self.place / "..data_tmp"
        new.symlink_to(name)
        os.replace(new, self.place / "..data")


def machine() -> dict[str, Any]:
    raw = yaml.safe_load(VMI)

    def source(name: str) -> dict[str, Any]:
        return {"source": {"secret": {"secretName": name}}}

    def key(way: dict[str, Any]) -> dict[str, Any]:
        return {"sshPublicKey": {**source("keys"), "propagationMethod": way}}

    agent: dict[str, Any] = {"qemuGuestAgent": {}}
    raw["spec"]["accessCredentials"] = [
        key({"noCloud": {}}),
        key({"qemuGuestAgent": {"users": ["root", "nobody-like-that"]}}),
        {"userPassword": {**source("passwords"), "propagationMethod": agent}},
    ]
    return admitted(raw)


@pytest.mark.shows(
    "accessCredentials.sshPublicKey.source.secret.secretName",
    "accessCredentials.sshPublicKey.propagationMethod.noCloud",
    "accessCredentials.sshPublicKey.propagationMethod.qemuGuestAgent.users",
    "accessCredentials.userPassword.*",
)
async def test_they_reach_the_guest_and_change_with_their_secrets(
    box: Container, cache: dict[str, bytes], tmp_path: Path
) -> None:
    keys, passwords = Secret(box, "keys"), Secret(box, "passwords")
    keys.has(team=f"{ANNA}\n{BERT}\n")
    passwords.has(root="first-secret\n")
    vmi = machine()
    box.launch()
    async with connected(box, cache) as handler:
        assert isinstance(answer := await handler.sync(vmi), Done), answer
        assert handler.last.credentials == ""
        serial = await Serial.of(box)
        await serial.until("login:")

        def told(message: object) -> bool:
            return isinstance(message, DomainChanged) and message.credentials == "Failed"

        failed = handler.last if told(handler.last) else await handler.until(told, 60)
        assert isinstance(failed, DomainChanged)
        # One user is not there; the others have what is theirs all the same.
        assert failed.credentials_message.startswith("the keys of user nobody-like-that: ")
        assert "user root" not in failed.credentials_message
        await serial.log_in("first-secret")
        kept = await serial.answer("cat /root/.ssh/authorized_keys")
        assert kept.splitlines() == [ANNA, BERT]
        about = "mount -t iso9660 -o ro /dev/vdb /mnt && cat /mnt/meta-data; umount /mnt"
        assert f'"public-keys":{{"0":"{ANNA}","1":"{BERT}"}}' in await serial.answer(about)

        # What the kubelet brings later reaches the guest that runs.
        keys.has(team=BERT, new=CARL)
        wait = f"until grep -q '{CARL}' /root/.ssh/authorized_keys; do sleep 1; done"
        await serial.answer(wait)
        kept = await serial.answer("cat /root/.ssh/authorized_keys")
        assert sorted(kept.splitlines()) == [BERT, CARL]
        keys.has()
        await serial.answer("until ! [ -s /root/.ssh/authorized_keys ]; do sleep 1; done")
        before = await serial.answer("grep ^root: /etc/shadow")
        passwords.has(root="second-secret")
        await serial.answer(f"until ! grep -qF '{before.strip()}' /etc/shadow; do sleep 1; done")
        serial.say("exit")
        await serial.until("login:")
        await serial.log_in("second-secret")
        # No secret is in what the launcher writes.
        log = box.log.read_text(errors="replace")
        for secret in ("first-secret", "second-secret"):
            assert secret not in log
            assert base64.b64encode(secret.encode()).decode() not in log
        serial.say("poweroff")
        await handler.domain("Shutoff", "Crashed")
        await handler.release()
