"""What the credentials commands share: the secrets that a VM names, and changes of them.

A running guest follows its secrets: virt-launcher hands what changes to the guest's agent.

https://kubevirt.io/user-guide/user_workloads/accessing_virtual_machines/#dynamic-ssh-public-key-injection
"""

from __future__ import annotations

import argparse
import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from virtpod.cli.session import Failure, Session

Json = dict[str, Any]
TRIES = 5
"""Times that a change is tried which somebody else's came before."""
BETWEEN = 0.1


def common(parser: argparse.ArgumentParser, secret: str) -> None:
    """Flags of all of them; `secret` says which one is meant."""
    parser.add_argument("name", metavar="VM")
    parser.add_argument("-u", "--user", required=True, metavar="USER", help="of the guest")
    parser.add_argument("--secret", default="", metavar="NAME", help=secret)
    parser.add_argument(
        "--force", action="store_true", help="also where the secret is not the VM's own"
    )


def key_flags(parser: argparse.ArgumentParser) -> None:
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("-f", "--file", default="", metavar="FILE", help="with the public key")
    given.add_argument("--value", default="", metavar="KEY", help="the public key itself")


def keys(args: argparse.Namespace) -> list[str]:
    """Public keys, a line each. Raises Failure."""
    try:
        text = args.value or Path(args.file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Failure(f"cannot read --file {args.file}: {error}") from error
    found = [line.strip() for line in text.splitlines() if _is_key(line)]
    if not found:
        raise Failure("there is no public key in what was given: a line such as ssh-ed25519 AAAA…")
    if any("PRIVATE KEY" in line for line in found):
        raise Failure("that is a private key: give the public one, FILE.pub")
    return found


def _is_key(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def holds(line: str, key: str) -> bool:
    """Whether a line of authorized_keys is this key, be its options and its comment what they may:
    https://man.openbsd.org/sshd#AUTHORIZED_KEYS_FILE_FORMAT
    """
    kind_and_value, words = key.split()[:2], line.split()
    pairs = (words[at : at + len(kind_and_value)] for at in range(len(words)))
    return kind_and_value in pairs


def by_agent(vm: Json, what: str) -> list[tuple[str, list[str]]]:
    """Secrets whose `sshPublicKey` or `userPassword` goes by the guest's agent, each with the
    users that it names."""
    template = (vm.get("spec") or {}).get("template") or {}
    found = []
    for each in (template.get("spec") or {}).get("accessCredentials") or ():
        credential = each.get(what) or {}
        secret = ((credential.get("source") or {}).get("secret") or {}).get("secretName")
        agent = (credential.get("propagationMethod") or {}).get("qemuGuestAgent")
        if secret and agent is not None:
            found.append((secret, list(agent.get("users") or ())))
    return found


def of_user(vm: Json, user: str) -> list[str]:
    """Secrets with a user's SSH keys."""
    return [secret for secret, users in by_agent(vm, "sshPublicKey") if user in users]


def chosen(wanted: str, secrets: list[str]) -> str:
    """The secret to change, of one at least. Raises Failure."""
    if wanted and wanted not in secrets:
        raise Failure(f"secret {wanted} was not assigned; there is {', '.join(secrets)}")
    if not wanted and len(secrets) > 1:
        raise Failure(
            "multiple secrets specified, use option --secret to specify which secret to modify: "
            + ", ".join(secrets)
        )
    return wanted or secrets[0]


def owns(vm: Json, secret: Json) -> bool:
    metadata = vm["metadata"]
    return any(
        (owner.get("kind"), owner.get("name"), owner.get("uid"))
        == ("VirtualMachine", metadata["name"], metadata.get("uid"))
        for owner in secret["metadata"].get("ownerReferences") or ()
    )


def reference(vm: Json) -> Json:
    """Of a secret that goes with its VM."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "name": vm["metadata"]["name"],
        "uid": vm["metadata"]["uid"],
        "controller": True,
    }


async def machine(session: Session, name: str) -> Json:
    """Raises Failure."""
    from virtpod.kube.errors import ApiError
    from virtpod.kube.resources import VMS

    try:
        return await session.client.get(VMS, (session.namespace, name))
    except ApiError as error:
        raise Failure(f"error getting virtual machine: {error.message or error}") from error


async def change(
    session: Session, vm: Json, name: str, edit: Callable[[dict[str, str]], Json], *, force: bool
) -> bool:
    """Changes a secret by what `edit` makes of its texts: values by key, None for a key that goes,
    empty where all is well. Whether there was something to do. Raises Failure, ApiError.

    A secret that others use too is changed by `force` only.
    """
    from virtpod.kube.resources import SECRETS

    async def once() -> bool:
        secret = await session.client.get(SECRETS, (session.namespace, name))
        texts = {
            key: base64.b64decode(value).decode(errors="replace")
            for key, value in (secret.get("data") or {}).items()
        }
        changes = edit(texts)
        if not changes:
            return False
        if not force and not owns(vm, secret):
            raise Failure(
                f"secret {name} does not have an owner reference pointing to VM "
                f"{vm['metadata']['name']}: others may use it too; --force changes it"
            )
        data = {
            key: None if value is None else base64.b64encode(value.encode()).decode()
            for key, value in changes.items()
        }
        version = {"resourceVersion": secret["metadata"]["resourceVersion"]}
        body = {"metadata": version, "data": data}
        await session.client.patch(SECRETS, (session.namespace, name), body)
        return True

    return await again(once)


async def again(once: Callable[[], Awaitable[bool]]) -> bool:
    """Where somebody else's change came before. Raises Conflict where that goes on."""
    from virtpod.kube.errors import Conflict

    for left in reversed(range(TRIES)):
        try:
            return await once()
        except Conflict:
            if not left:
                raise
            await asyncio.sleep(BETWEEN)
    raise AssertionError
