"""AMD SEV: what the platform measures and what the guest's owner sends it."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Int32, Wire


class SEVMeasurementInfo(Wire):
    api_major: Int32 | None = None
    """Major version of the platform's API."""
    api_minor: Int32 | None = None
    """Minor version of the platform's API."""
    api_version: str | None = None
    """The group and version that this object is written in."""
    build_id: Int32 | None = field(default=None, name="buildID")
    """Build of the platform's firmware."""
    kind: str | None = None
    """The kind of object this is."""
    loader_sha: str | None = field(default=None, name="loaderSHA")
    """SHA-256 of the guest's firmware."""
    measurement: str | None = None
    """What the platform has measured, base64."""
    policy: Int32 | None = None
    """The guest's policy as a number."""


class SEVPlatformInfo(Wire):
    api_version: str | None = None
    """The group and version that this object is written in."""
    cert_chain: str | None = None
    """Certificates of the platform, base64."""
    kind: str | None = None
    """The kind of object this is."""
    pdh: str | None = None
    """The platform's Diffie-Hellman key, base64."""


class SEVSecretOptions(Wire):
    header: str | None = None
    """Header of the secret, base64."""
    secret: str | None = None
    """The encrypted secret, base64."""


class SEVSessionOptions(Wire):
    dh_cert: str | None = None
    """The owner's Diffie-Hellman certificate, base64."""
    session: str | None = None
    """The owner's session blob, base64."""
