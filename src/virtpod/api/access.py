"""Credentials that are handed to the guest: SSH keys and user passwords."""

from __future__ import annotations

from virtpod.api.base import SetList, Wire


class ConfigDriveSSHPublicKeyAccessCredentialPropagation(Wire):
    pass


class NoCloudSSHPublicKeyAccessCredentialPropagation(Wire):
    pass


class QemuGuestAgentSSHPublicKeyAccessCredentialPropagation(Wire):
    users: SetList[str]


class SSHPublicKeyAccessCredentialPropagationMethod(Wire):
    config_drive: ConfigDriveSSHPublicKeyAccessCredentialPropagation | None = None
    no_cloud: NoCloudSSHPublicKeyAccessCredentialPropagation | None = None
    qemu_guest_agent: QemuGuestAgentSSHPublicKeyAccessCredentialPropagation | None = None


class AccessCredentialSecretSource(Wire):
    secret_name: str


class SSHPublicKeyAccessCredentialSource(Wire):
    secret: AccessCredentialSecretSource | None = None


class SSHPublicKeyAccessCredential(Wire):
    source: SSHPublicKeyAccessCredentialSource
    propagation_method: SSHPublicKeyAccessCredentialPropagationMethod


class QemuGuestAgentUserPasswordAccessCredentialPropagation(Wire):
    pass


class UserPasswordAccessCredentialPropagationMethod(Wire):
    qemu_guest_agent: QemuGuestAgentUserPasswordAccessCredentialPropagation | None = None


class UserPasswordAccessCredentialSource(Wire):
    secret: AccessCredentialSecretSource | None = None


class UserPasswordAccessCredential(Wire):
    source: UserPasswordAccessCredentialSource
    propagation_method: UserPasswordAccessCredentialPropagationMethod


class AccessCredential(Wire):
    ssh_public_key: SSHPublicKeyAccessCredential | None = None
    user_password: UserPasswordAccessCredential | None = None
