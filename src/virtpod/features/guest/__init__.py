"""What is agreed with the guest itself: its agent, how it starts, how it is asked to stop."""

from __future__ import annotations

from virtpod.api.access import AccessCredential


def secret_of(each: AccessCredential) -> str:
    """The name of the secret behind a credential, "" where it names none."""
    given = each.ssh_public_key or each.user_password
    secret = given and given.source.secret
    return secret.secret_name if secret else ""
