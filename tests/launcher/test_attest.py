"""What is made of libvirt's answers about AMD SEV, which a machine of that kind has given."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from virtpod.launcher import attest
from virtpod.launcher.attest import done
from virtpod.launcher.hypervisor import Refused
from virtpod.wire.messages import Attest

PLATFORM = {
    "pdh": "cGRo",
    "cert-chain": "Y2VydA==",
    "cpu0-id": "aWQ=",
    "cbitpos": 51,
    "reduced-phys-bits": 1,
    "max-guests": 509,
    "max-es-guests": 0,
}
MEASURED = {
    "sev-measurement": "LMnv8i8N2QejezMPkscShF0cyPYCslgUoCxGWRqQuyt0Q0aUjVkH/T6NcmkwZkWp",
    "sev-api-major": 1,
    "sev-api-minor": 51,
    "sev-build-id": 3,
    "sev-policy": 3,
}
"""As libvirt 11 names them."""


class Connection:
    def getSEVInfo(self, flags: int) -> dict[str, Any]:
        return dict(PLATFORM)


class Domain:
    def __init__(self, loader: str) -> None:
        self.loader = loader
        self.given: dict[str, str] = {}

    def launchSecurityInfo(self, flags: int) -> dict[str, Any]:
        return dict(MEASURED)

    def setLaunchSecurityState(self, given: dict[str, str], flags: int) -> None:
        self.given = given

    def XMLDesc(self, flags: int) -> str:
        return f"<domain><os><loader>{self.loader}</loader></os></domain>"


def ask(what: str, domain: Domain, **more: str) -> dict[str, Any]:
    return done(Attest(id=7, what=what, **more), Connection(), lambda: domain).facts


def test_the_platform_is_told_as_it_is() -> None:
    assert ask("platform", Domain("")) == PLATFORM


def test_a_measurement_comes_with_the_firmware_s_hash(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    firmware = tmp_path / "OVMF.fd"
    firmware.write_bytes(b"firmware")
    monkeypatch.setattr(attest, "LOADERS", (f"{tmp_path}/",))
    told = ask("measurement", Domain(str(firmware)))
    assert told == {**MEASURED, "loader-sha": hashlib.sha256(b"firmware").hexdigest()}


@pytest.mark.parametrize("loader", ["", "/etc/passwd", "/usr/share/../../etc/passwd"])
def test_nothing_but_firmware_is_hashed(loader: str) -> None:
    assert ask("measurement", Domain(loader))["loader-sha"] == ""


def test_a_secret_is_handed_over() -> None:
    domain = Domain("")
    assert ask("secret", domain, header="aA==", secret="cw==") == {}
    assert domain.given == {"sev-secret-header": "aA==", "sev-secret": "cw=="}


def test_nothing_else_is_asked() -> None:
    with pytest.raises(Refused):
        ask("everything", Domain(""))
