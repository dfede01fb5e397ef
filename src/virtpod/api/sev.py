"""AMD SEV: what the platform measures and what the guest's owner sends it."""

from __future__ import annotations

from msgspec import field

from virtpod.api.base import Int32, Wire


class SEVMeasurementInfo(Wire):
    api_major: Int32 | None = None
    api_minor: Int32 | None = None
    api_version: str | None = None
    build_id: Int32 | None = field(default=None, name="buildID")
    kind: str | None = None
    loader_sha: str | None = field(default=None, name="loaderSHA")
    measurement: str | None = None
    policy: Int32 | None = None


class SEVPlatformInfo(Wire):
    api_version: str | None = None
    cert_chain: str | None = None
    kind: str | None = None
    pdh: str | None = None


class SEVSecretOptions(Wire):
    header: str | None = None
    secret: str | None = None


class SEVSessionOptions(Wire):
    dh_cert: str | None = None
    session: str | None = None
