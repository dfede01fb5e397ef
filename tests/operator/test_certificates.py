"""Certificates over time: nobody ever meets one that they cannot verify."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509

from virtpod.operator import certificates
from virtpod.operator.certificates import Kept, Policy

NOW = 1_800_000_000.0
HOUR = 3600.0


class Cluster:
    """Keeps what was made; `age` is how long ago each certificate was made."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.secrets: dict[str, Mapping[str, str]] = {}
        self.bundle = ""

    def look(self, now: float) -> Kept:
        kept = certificates.keep(self.secrets, self.bundle, "kubevirt", self.policy, now)
        self.secrets = {each["metadata"]["name"]: each["data"] for each in kept.secrets}
        self.bundle = kept.bundle
        return kept

    def leaf(self, name: str = "kubevirt-virt-api-certs") -> x509.Certificate:
        pair = certificates.pair_of(self.secrets[name])
        assert pair is not None
        return pair.x509

    def authorities(self) -> list[x509.Certificate]:
        return x509.load_pem_x509_certificates(self.bundle.encode())


def issued(leaf: x509.Certificate, authorities: list[x509.Certificate]) -> bool:
    for authority in authorities:
        try:
            leaf.verify_directly_issued_by(authority)
        except Exception:
            continue
        return True
    return False


def test_a_second_look_changes_nothing() -> None:
    cluster = Cluster()
    first = cluster.look(NOW)
    second = cluster.look(NOW + 60)
    assert (first.secrets, first.bundle) == (second.secrets, second.bundle)
    assert first.again_in == pytest.approx(19.2 * HOUR, rel=0.01)


def test_a_month_passes_and_all_can_always_be_verified() -> None:
    """Looked at whenever it was said to be necessary; verified also by those whose bundle is one
    look older."""
    cluster = Cluster()
    now, seen = NOW, set()
    cluster.look(now)
    for _ in range(120):
        older = cluster.authorities()
        now += cluster.look(now).again_in
        cluster.look(now)
        for wanted in certificates.wanted("kubevirt"):
            leaf = cluster.leaf(wanted.secret)
            assert leaf.not_valid_after_utc.timestamp() > now
            assert issued(leaf, cluster.authorities())
            assert issued(leaf, older) or len(cluster.authorities()) == 1
        assert len(cluster.authorities()) <= 2
        seen.add(cluster.authorities()[0].serial_number)
        if now > NOW + 30 * 24 * HOUR:
            break
    assert now > NOW + 30 * 24 * HOUR
    assert len(seen) >= 5


@pytest.mark.configures("certificateRotateStrategy.selfSigned.ca.*")
def test_a_shorter_life_is_wanted_and_had_at_once() -> None:
    """Of certificates; the authority's successor is known everywhere before it signs."""
    cluster = Cluster()
    cluster.look(NOW)
    before = cluster.leaf()
    cluster.policy = certificates.policy(
        {
            "spec": {
                "certificateRotateStrategy": {
                    "selfSigned": {
                        "ca": {"duration": "6h", "renewBefore": "2h"},
                        "server": {"duration": "5m", "renewBefore": "4m"},
                    }
                }
            }
        }
    )
    kept = cluster.look(NOW + 60)
    assert len(cluster.authorities()) == 2
    assert cluster.leaf() == before, "nobody is served by an authority that is not known yet"
    now = NOW + 60 + kept.again_in
    cluster.look(now)
    leaf = cluster.leaf()
    assert issued(leaf, cluster.authorities()[:1])
    assert leaf.not_valid_after_utc.timestamp() == pytest.approx(now + 300, abs=2)
    serials, began = {leaf.serial_number}, now
    while now < began + 600:
        now += min(cluster.look(now).again_in, 30.0)
        serials.add(cluster.leaf().serial_number)
        assert cluster.leaf().not_valid_after_utc.timestamp() - now > 200
    assert len(serials) in (10, 11), "one a minute"


@pytest.mark.parametrize("lead", ["15m", "4m", "1m"])
def test_short_lives_are_renewed_in_time_though_the_authority_changes(lead: str) -> None:
    server = {"duration": "20m" if lead == "15m" else "5m", "renewBefore": lead}
    ca = {"duration": "2h", "renewBefore": "1h"}
    said = {"certificateRotateStrategy": {"selfSigned": {"ca": ca, "server": server}}}
    cluster = Cluster(certificates.policy({"spec": said}))
    now, authorities = NOW, set()
    while now < NOW + 6 * HOUR:
        now += cluster.look(now).again_in
        left = cluster.leaf().not_valid_after_utc.timestamp() - now
        assert left > 20, "what a kubelet has not brought yet must still be good"
        authorities.add(cluster.leaf().issuer)
    assert len(authorities) >= 4


def test_a_lost_secret_is_made_anew_by_the_same_authority() -> None:
    cluster = Cluster()
    cluster.look(NOW)
    before = cluster.authorities()
    del cluster.secrets["kubevirt-virt-api-certs"]
    cluster.look(NOW + 60)
    assert cluster.authorities() == before
    assert issued(cluster.leaf(), before)


def test_a_lost_authority_takes_its_certificates_with_it() -> None:
    cluster = Cluster()
    cluster.look(NOW)
    del cluster.secrets["kubevirt-ca"]
    cluster.look(NOW + 60)
    cluster.look(NOW + 60 + 2 * HOUR)
    assert issued(cluster.leaf(), cluster.authorities())


def test_rubbish_in_a_secret_is_replaced() -> None:
    cluster = Cluster()
    cluster.look(NOW)
    cluster.secrets["kubevirt-virt-api-certs"] = {"tls.crt": "AAAA", "tls.key": "not base64!"}
    cluster.look(NOW + 60)
    assert issued(cluster.leaf(), cluster.authorities())


def test_python_verifies_them_strictly(tmp_path: Path) -> None:
    """A handshake in memory, as virt-api and virt-handler have it."""
    import time

    cluster = Cluster()
    cluster.look(time.time())

    def context(secret: str, purpose: ssl.Purpose) -> ssl.SSLContext:
        made = ssl.create_default_context(purpose, cadata=cluster.bundle)
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        made.verify_mode = ssl.CERT_REQUIRED
        pair = certificates.pair_of(cluster.secrets[secret])
        assert pair is not None
        (tmp_path / "crt").write_bytes(pair.certificate)
        (tmp_path / "key").write_bytes(pair.key)
        made.load_cert_chain(tmp_path / "crt", tmp_path / "key")
        return made

    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context("kubevirt-virt-handler-server-certs", ssl.Purpose.CLIENT_AUTH).wrap_bio(
        to_server, to_client, server_side=True
    )
    client = context("kubevirt-virt-handler-certs", ssl.Purpose.SERVER_AUTH).wrap_bio(
        to_client, to_server, server_hostname="virt-handler.kubevirt.svc"
    )
    waiting = [client, server]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    peer = server.getpeercert()
    assert peer is not None
    assert (("commonName", "kubevirt.io:system:client:virt-handler"),) in peer["subject"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, Policy()),
        (
            {"ca": {"duration": "48h", "renewBefore": "24h"}, "server": {"duration": "1h"}},
            Policy(48 * HOUR, 24 * HOUR, HOUR, 0.2 * HOUR),
        ),
        ({"ca": {"duration": "nonsense"}}, Policy()),
    ],
)
@pytest.mark.configures("certificateRotateStrategy.*")
def test_the_cr_says_how_long_they_last(said: dict[str, object], expected: Policy) -> None:
    policy = certificates.policy({"spec": {"certificateRotateStrategy": {"selfSigned": said}}})
    assert policy == expected
