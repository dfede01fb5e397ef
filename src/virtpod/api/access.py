"""Credentials that are handed to the guest: SSH keys and user passwords."""

from __future__ import annotations

from virtpod.api.base import SetList, Wire


class ConfigDriveSSHPublicKeyAccessCredentialPropagation(Wire):
    pass


class NoCloudSSHPublicKeyAccessCredentialPropagation(Wire):
    pass


class QemuGuestAgentSSHPublicKeyAccessCredentialPropagation(Wire):
    users: SetList[str]
    """Users of the guest that get the keys."""


class SSHPublicKeyAccessCredentialPropagationMethod(Wire):
    config_drive: ConfigDriveSSHPublicKeyAccessCredentialPropagation | None = None
    """The keys are in the config drive's metadata."""
    no_cloud: NoCloudSSHPublicKeyAccessCredentialPropagation | None = None
    """The keys are in the NoCloud disk's metadata."""
    qemu_guest_agent: QemuGuestAgentSSHPublicKeyAccessCredentialPropagation | None = None
    """The guest agent writes the keys, also when the secret changes."""


class AccessCredentialSecretSource(Wire):
    secret_name: str
    """Name of the secret."""


class SSHPublicKeyAccessCredentialSource(Wire):
    secret: AccessCredentialSecretSource | None = None
    """Secret each of whose values is a key."""


class SSHPublicKeyAccessCredential(Wire):
    source: SSHPublicKeyAccessCredentialSource
    """Where the keys come from."""
    propagation_method: SSHPublicKeyAccessCredentialPropagationMethod
    """How they reach the guest."""


class QemuGuestAgentUserPasswordAccessCredentialPropagation(Wire):
    pass


class UserPasswordAccessCredentialPropagationMethod(Wire):
    qemu_guest_agent: QemuGuestAgentUserPasswordAccessCredentialPropagation | None = None
    """The guest agent sets the passwords, also when the secret changes."""


class UserPasswordAccessCredentialSource(Wire):
    secret: AccessCredentialSecretSource | None = None
    """Secret with user names as keys and passwords as values."""


class UserPasswordAccessCredential(Wire):
    source: UserPasswordAccessCredentialSource
    """Where the passwords come from."""
    propagation_method: UserPasswordAccessCredentialPropagationMethod
    """How they reach the guest."""


class AccessCredential(Wire):
    ssh_public_key: SSHPublicKeyAccessCredential | None = None
    """SSH keys."""
    user_password: UserPasswordAccessCredential | None = None
    """Passwords."""
