"""Keys and passwords that the guest's agent is given, whenever they change.

The kubelet puts a secret's files into a folder of their own and exchanges that as a whole
(`..data`), which inotify tells. What was given once stands until it changes; an agent that comes
back, in a guest that has rebooted, is given all of it again.

https://www.qemu.org/docs/master/interop/qemu-ga-ref.html (guest-ssh-add-authorized-keys,
guest-set-user-password)
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from virtpod.api.vmi import VirtualMachineInstance
from virtpod.domain import paths
from virtpod.features.guest import secret_of
from virtpod.launcher.hypervisor import Entrusted, Refused
from virtpod.launcher.inotify import Folders
from virtpod.launcher.log import log

LARGEST = 1024 * 1024
"""Bytes of one file: Kubernetes lets no secret be larger."""
RETRY, LONGEST_RETRY = 5.0, 300.0
"""Seconds after which what failed is tried again, doubled each time."""
State = Literal["", "Synchronized", "Failed"]


@dataclass(frozen=True)
class Order:
    """One command for the agent, and what of the guest it sets: what is as it was is not sent."""

    about: str
    command: str
    arguments: dict[str, Any]


def entrusted(vmi: VirtualMachineInstance) -> tuple[Entrusted, ...]:
    """What the agent is to be given."""
    found = []
    for each in vmi.spec.access_credentials or ():
        folder = paths.credentials_folder(secret_of(each))
        if each.user_password is not None:
            found.append(Entrusted(folder))
        elif each.ssh_public_key is not None:
            way = each.ssh_public_key.propagation_method.qemu_guest_agent
            found += [Entrusted(folder, tuple(way.users))] if way else []
    return tuple(found)


def orders(given: tuple[Entrusted, ...]) -> list[Order]:
    """What the secrets say now. Raises Refused, OSError."""
    keys: dict[str, dict[str, None]] = {}
    passwords: dict[str, str] = {}
    for each in given:
        files = _files(each.folder)
        lines = [line.strip() for content in files.values() for line in content.splitlines()]
        for user in each.users:
            # Also where there is none left: the last one leaves the guest too.
            keys.setdefault(user, {}).update(dict.fromkeys(filter(None, lines)))
        if not each.users:
            # Nobody means to let a user in without one.
            said = {user: content.rstrip("\r\n") for user, content in files.items()}
            passwords |= {user: password for user, password in said.items() if password}
    return [
        *(
            Order(
                f"the keys of user {user}",
                "guest-ssh-add-authorized-keys",
                # `reset`: a key that has left the secret leaves the guest.
                {"username": user, "keys": list(lines), "reset": True},
            )
            for user, lines in keys.items()
        ),
        *(
            Order(
                f"the password of user {user}",
                "guest-set-user-password",
                {
                    "username": user,
                    "password": base64.b64encode(password.encode()).decode(),
                    "crypted": False,
                },
            )
            for user, password in passwords.items()
        ),
    ]


def _files(folder: str) -> dict[str, str]:
    content = Path(folder, "..data")
    found = {}
    for file in sorted((content if content.is_dir() else Path(folder)).iterdir()):
        if file.is_file() and not file.name.startswith(".."):
            with file.open("rb") as opened:
                said = opened.read(LARGEST + 1)
            if len(said) > LARGEST:
                raise Refused(f"{file.name} of {folder} is larger than 1 MiB")
            found[file.name] = said.decode(errors="replace")
    return found


class Keeper:
    """Hands over, and goes on doing so; `state` and `message` tell what came of it."""

    def __init__(
        self,
        given: tuple[Entrusted, ...],
        ask: Callable[[str, dict[str, Any]], Awaitable[object]],
        changed: Callable[[], None],
    ) -> None:
        self.state: State = ""
        self.message = ""
        self._given = given
        self._ask = ask
        self._changed = changed

    async def run(self) -> None:
        """While the agent is there; cancelled when it goes."""
        done: dict[str, Order] = {}
        pause = RETRY
        with Folders(sorted({each.folder for each in self._given})) as folders:
            while True:
                try:
                    await self._hand_over(done)
                except (Refused, OSError) as error:
                    self._tell("Failed", str(error))
                    await folders.changed(pause)
                    pause = min(pause * 2, LONGEST_RETRY)
                else:
                    self._tell("Synchronized", "")
                    await folders.changed(None)
                    pause = RETRY

    async def _hand_over(self, done: dict[str, Order]) -> None:
        """All that can be; raises Refused with all that cannot."""
        troubles = []
        for order in await asyncio.to_thread(orders, self._given):
            if done.get(order.about) == order:
                continue
            try:
                await self._ask(order.command, order.arguments)
            except Refused as error:
                troubles.append(f"{order.about}: {error}")
            else:
                log("the guest agent was given", what=order.about)
                done[order.about] = order
        if troubles:
            raise Refused("; ".join(troubles))

    def _tell(self, state: State, message: str) -> None:
        if (state, message) != (self.state, self.message):
            self.state, self.message = state, message
            self._changed()
