"""virtctl credentials: keys and passwords come into the secrets that a VM names."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Commands
from tests.kube.fake import FakeCluster
from virtpod.cli import _credentials as credentials
from virtpod.kube.resources import SECRETS, VMIS, VMS

Json = dict[str, Any]

KEY = "ssh-ed25519 AAAAone ann@home"
OTHER = "ssh-ed25519 AAAAtwo ann@work"


def ssh(secret: str, *users: str) -> Json:
    return {
        "sshPublicKey": {
            "source": {"secret": {"secretName": secret}},
            "propagationMethod": {"qemuGuestAgent": {"users": list(users)}},
        }
    }


def password(secret: str) -> Json:
    return {
        "userPassword": {
            "source": {"secret": {"secretName": secret}},
            "propagationMethod": {"qemuGuestAgent": {}},
        }
    }


def machine(fake: FakeCluster, *given: Json) -> Json:
    spec = {"accessCredentials": list(given)} if given else {}
    return fake.put(
        VMS,
        {
            "metadata": {"namespace": "team", "name": "demo"},
            "spec": {"template": {"spec": {"domain": {}, **spec}}},
        },
    )


def secret(fake: FakeCluster, name: str, vm: Json | None = None, **texts: str) -> None:
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    owners = [credentials.reference(vm)] if vm else []
    metadata = {"namespace": "team", "name": name, "ownerReferences": owners}
    fake.put(SECRETS, {"metadata": metadata, **({"data": data} if data else {})})


def texts(fake: FakeCluster, name: str) -> list[str]:
    data = fake.get(SECRETS, "team", name).get("data") or {}
    return [base64.b64decode(value).decode() for value in data.values()]


async def test_a_key_comes_into_the_users_secret_once(cluster: Commands, fake: FakeCluster) -> None:
    vm = machine(fake, ssh("keys", "ann"), ssh("others", "bob"))
    secret(fake, "keys", vm)
    words = ("credentials", "add-ssh-key", "demo", "--user", "ann", "--value")
    out, _ = await cluster.run(*words, KEY)
    assert out == 'Successfully added the key to secret "keys"\n'
    assert texts(fake, "keys") == [KEY]
    # Its comment is none of the key's business.
    out, _ = await cluster.run(*words, "ssh-ed25519 AAAAone elsewhere")
    assert out == 'Secret "keys" already contains this SSH key.\n'
    await cluster.run(*words, OTHER)
    assert sorted(texts(fake, "keys")) == [KEY, OTHER]
    # Of one file, and with options before it.
    secret(fake, "keys", vm, a=f"no-pty {KEY}\n\n{OTHER}\n")
    words = ("credentials", "remove-ssh-key", "demo", "-u", "ann", "--value")
    out, _ = await cluster.run(*words, KEY)
    assert out == 'Successfully removed the key from secret "keys"\n'
    assert texts(fake, "keys") == [OTHER]
    await cluster.run(*words, OTHER)
    assert texts(fake, "keys") == []
    out, _ = await cluster.run(*words, OTHER)
    assert out == 'Secret "keys" does not contain this SSH key.\n'


async def test_a_secret_of_others_is_changed_by_force_only(
    cluster: Commands, fake: FakeCluster, tmp_path: Path
) -> None:
    machine(fake, ssh("keys", "ann"))
    secret(fake, "keys")
    file = tmp_path / "id.pub"
    file.write_text(f"# mine\n{KEY}\n")
    words = ("credentials", "add-ssh-key", "demo", "-u", "ann", "-f", str(file))
    _, err = await cluster.run(*words, code=1)
    assert "does not have an owner reference pointing to VM demo" in err
    assert texts(fake, "keys") == []
    await cluster.run(*words, "--force")
    assert texts(fake, "keys") == [KEY]


async def test_a_user_without_a_secret_gets_one(cluster: Commands, fake: FakeCluster) -> None:
    vm = machine(fake, password("words"))
    fake.put(VMIS, {"metadata": {"namespace": "team", "name": "demo"}})
    words = ("credentials", "add-ssh-key", "demo", "-u", "ann", "--value", KEY)
    _, err = await cluster.run(*words, code=1)
    assert "virtual machine demo is running. Use --force" in err
    out, _ = await cluster.run(*words, "--force")
    _, credential = fake.get(VMS, "team", "demo")["spec"]["template"]["spec"]["accessCredentials"]
    name = credential["sshPublicKey"]["source"]["secret"]["secretName"]
    assert credential == ssh(name, "ann")
    assert f'created secret "{name}"' in out
    made = fake.get(SECRETS, "team", name)
    assert name.startswith("demo-ssh-key-")
    assert credentials.owns(vm, made)
    assert texts(fake, name) == [KEY]


async def test_no_secret_is_left_of_what_failed(cluster: Commands, fake: FakeCluster) -> None:
    machine(fake)
    fake.fail("patch", VMS, 403, times=9)
    words = ("credentials", "add-ssh-key", "demo", "-u", "ann", "--value", KEY)
    _, err = await cluster.run(*words, code=1)
    assert "error patching virtual machine" in err
    assert fake.objects(SECRETS) == {}


async def test_a_change_of_somebody_elses_is_kept(cluster: Commands, fake: FakeCluster) -> None:
    vm = machine(fake, ssh("keys", "ann"))
    secret(fake, "keys", vm, a=OTHER)
    fake.fail("patch", SECRETS, 409, times=2)
    await cluster.run("credentials", "add-ssh-key", "demo", "-u", "ann", "--value", KEY)
    assert sorted(texts(fake, "keys")) == [KEY, OTHER]


async def test_a_password_is_a_users_key_in_the_secret(
    cluster: Commands, fake: FakeCluster
) -> None:
    vm = machine(fake, password("words"))
    secret(fake, "words", vm, bob="old")
    words = ("credentials", "set-password", "demo", "--user", "ann", "--password", "new")
    out, _ = await cluster.run(*words)
    assert out == 'Successfully set password in secret "words"\n'
    data = fake.get(SECRETS, "team", "words")["data"]
    assert base64.b64decode(data["ann"]) == b"new"
    assert base64.b64decode(data["bob"]) == b"old"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add-ssh-key", "-u", "ann", "--value", "x"), "multiple secrets specified"),
        (("add-ssh-key", "-u", "ann", "--value", "x", "--secret", "c"), "c was not assigned"),
        (("add-ssh-key", "-u", "eve", "--value", "x", "--update-secret"), "for user: eve"),
        (("add-ssh-key", "-u", "ann", "--file", "/nonexistent"), "cannot read --file"),
        (("add-ssh-key", "-u", "ann", "--value", "# none"), "no public key"),
        (
            ("add-ssh-key", "-u", "ann", "--value", "-----BEGIN OPENSSH PRIVATE KEY-----"),
            "a private key",
        ),
        (("add-ssh-key", "-u", "ann"), "--file"),
        (("remove-ssh-key", "-u", "ann", "--value", "x", "--secret", "c"), "not associated"),
        (("set-password", "-u", "ann", "-p", "x"), "no secrets assigned to UserPassword"),
        (("set-password", "-u", "a/b", "-p", "x"), "cannot be a secret's key"),
    ],
)
async def test_what_cannot_be_is_told(
    cluster: Commands, fake: FakeCluster, words: tuple[str, ...], told: str
) -> None:
    machine(fake, ssh("a", "ann"), ssh("b", "ann"))
    _, err = await cluster.run("credentials", words[0], "demo", *words[1:], code=1)
    assert told in err
    assert "Traceback" not in err


async def test_nobody_by_that_name(cluster: Commands) -> None:
    _, err = await cluster.run(
        "credentials", "set-password", "demo", "-u", "ann", "-p", "x", code=1
    )
    assert "error getting virtual machine" in err
