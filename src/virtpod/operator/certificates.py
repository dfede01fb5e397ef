"""The installation's own CA and the certificates it signs: made, renewed early, never all at once.

A new CA is published beside the old one before it signs anything, and the old one stays in the
bundle until all that it signed has expired: so nobody meets a certificate that they cannot verify,
and nothing has to restart. Files are replaced by the kubelet; servers look at them by themselves.

Certificates satisfy RFC 5280 as Python's VERIFY_X509_STRICT reads it.
https://docs.python.org/3/library/ssl.html#ssl.VERIFY_X509_STRICT
"""

from __future__ import annotations

import datetime
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from virtpod.domain.duration import seconds

Json = dict[str, Any]

CA_SECRET = "kubevirt-ca"
SKEW = datetime.timedelta(minutes=5)
"""How far behind somebody's clock may be."""
SETTLED = 300.0
"""Seconds after which a published CA has reached every mounted bundle."""


PRECISION = 1.0
"""Seconds: certificates have no fractions of them."""
MOST_LEAD = 0.9
"""Of its life before which a certificate is renewed: else there would be no end to it."""


@dataclass(frozen=True)
class Policy:
    """Seconds: how long certificates last, and how long before their end they are renewed."""

    ca_duration: float = 168 * 3600.0
    ca_renew_before: float = 168 * 3600.0 * 0.2
    duration: float = 24 * 3600.0
    renew_before: float = 24 * 3600.0 * 0.2

    def left(self, pair: Pair, now: float) -> float:
        """Seconds until this certificate is to be renewed: after the same part of its life whoever
        signed it; at once where it was made to last longer than any shall now."""
        if _lasts(pair.x509) > self.duration + PRECISION:
            return 0.0
        lead = _lasts(pair.x509) * self.renew_before / self.duration
        return _ends(pair.x509) - lead - now

    @property
    def settled(self) -> float:
        """Less than what certificates still have when nobody may renew them."""
        return min(SETTLED, self.ca_duration * 0.02, self.renew_before * 0.5)


@dataclass(frozen=True)
class Wanted:
    """A certificate: its secret, its common name, the DNS names it is good for."""

    secret: str
    common_name: str
    dns: tuple[str, ...]
    client: bool = False


@dataclass(frozen=True)
class Pair:
    """PEM."""

    certificate: bytes
    key: bytes

    @property
    def x509(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate)


@dataclass(frozen=True)
class Kept:
    """What shall be in the cluster, and when to look at it again."""

    secrets: tuple[Json, ...]
    bundle: str
    again_in: float


def wanted(namespace: str) -> tuple[Wanted, ...]:
    def service(name: str) -> tuple[str, ...]:
        host = f"{name}.{namespace}"
        return (f"{host}.svc", f"{host}.svc.cluster.local", host, name)

    return (
        Wanted("kubevirt-virt-api-certs", f"virt-api.{namespace}.svc", service("virt-api")),
        Wanted(
            "kubevirt-virt-handler-server-certs",
            "kubevirt.io:system:node:virt-handler",
            service("virt-handler"),
        ),
        Wanted(
            "kubevirt-virt-handler-certs",
            "kubevirt.io:system:client:virt-handler",
            (f"client.virt-handler.{namespace}.svc",),
            client=True,
        ),
        Wanted(
            "kubevirt-virt-handler-vsock-client-certs",
            "kubevirt.io:system:client:vsock",
            (f"client.vsock.{namespace}.svc",),
            client=True,
        ),
        Wanted(
            "kubevirt-controller-certs",
            f"virt-controller.{namespace}.svc",
            service("virt-controller"),
        ),
        Wanted(
            "kubevirt-operator-certs",
            f"kubevirt-operator-webhook.{namespace}.svc",
            (*service("kubevirt-operator-webhook"), *service("virt-operator")),
        ),
    )


def policy(cr: Mapping[str, Any]) -> Policy:
    """From `spec.certificateRotateStrategy.selfSigned`; ours where it is silent."""
    given = ((cr.get("spec") or {}).get("certificateRotateStrategy") or {}).get("selfSigned") or {}
    default = Policy()
    ca, server = given.get("ca") or {}, given.get("server") or {}
    # The older names of three of them, which cannot be given beside the newer ones.
    ca_rotated, overlap = given.get("caRotateInterval"), given.get("caOverlapInterval")
    ca_duration = _seconds(ca.get("duration") or ca_rotated) or default.ca_duration
    duration = _seconds(server.get("duration") or given.get("certRotateInterval"))
    duration = duration or default.duration
    ca_before = _seconds(ca.get("renewBefore") or overlap) or ca_duration * 0.2
    before = _seconds(server.get("renewBefore")) or duration * 0.2
    duration = min(duration, ca_duration * 0.2)  # what a CA signed shall not outlive it
    return Policy(
        ca_duration=ca_duration,
        ca_renew_before=min(max(ca_before, duration), ca_duration * 0.5),
        duration=duration,
        renew_before=min(before, duration * MOST_LEAD),
    )


def keep(
    secrets: Mapping[str, Mapping[str, str]],
    bundle: str,
    namespace: str,
    policy: Policy,
    now: float,
) -> Kept:
    """`secrets`: the `data` of those that are there, by name; `bundle`: the one published now."""
    found = _pair(secrets.get(CA_SECRET))
    published = _certificates(bundle)
    ca = found if found and _sound_ca(found, now) else None
    if (
        ca is None
        or _ends(ca.x509) - now < policy.ca_renew_before
        or _lasts(ca.x509) > policy.ca_duration + PRECISION
    ):
        ca = _new_ca(policy, now)
    known = [each for each in published if _ends(each) > now]
    if ca.x509 not in known:
        known.insert(0, ca.x509)
    alone = len(known) == 1
    # A CA that was published just now is not yet in every file: what the old one signed still is.
    settled = alone or now - _begins(ca.x509) > policy.settled
    again = [_ends(ca.x509) - policy.ca_renew_before - now]
    again += [_ends(each) - now for each in known if each != ca.x509]
    unsettled_for = 0.0 if settled else policy.settled - (now - _begins(ca.x509)) + 1.0
    objects = [_secret(CA_SECRET, namespace, ca)]
    for each in wanted(namespace):
        pair = _pair(secrets.get(each.secret))
        good = pair is not None and _fits(pair, each, known, now)
        due = not good or (settled and pair is not None and policy.left(pair, now) <= 0)
        if pair is None or due:
            pair = _signed(each, ca, policy, now)
        again.append(max(policy.left(pair, now), unsettled_for))
        objects.append(_secret(each.secret, namespace, pair))
    text = "".join(_pem(each) for each in known)
    return Kept(tuple(objects), text, max(min(again), 1.0))


def self_signed(name: str, now: float) -> Pair:
    """For a server that has no certificate yet."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, name, key.public_key(), now, 3600.0)
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    return Pair(
        _pem(builder.add_extension(names, False).sign(key, hashes.SHA256())).encode(), _key(key)
    )


def pair_of(data: Mapping[str, str] | None) -> Pair | None:
    """Of a secret's `data`; None where it has none that can be read."""
    return _pair(data)


def _pair(data: Mapping[str, str] | None) -> Pair | None:
    try:
        pair = Pair(b64decode((data or {})["tls.crt"]), b64decode((data or {})["tls.key"]))
        public = _private(pair).public_key()
        return pair if pair.x509.public_key() == public else None
    except (KeyError, ValueError, TypeError):
        return None


def _private(pair: Pair) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pair.key, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key of ours")
    return key


def _sound_ca(pair: Pair, now: float) -> bool:
    try:
        constraints = pair.x509.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    return constraints.ca and _ends(pair.x509) > now


def _fits(pair: Pair, wanted: Wanted, known: list[x509.Certificate], now: float) -> bool:
    certificate = pair.x509
    if _ends(certificate) <= now or _name(certificate) != wanted.common_name:
        return False
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return False
    if set(names.value.get_values_for_type(x509.DNSName)) != set(wanted.dns):
        return False
    return any(_issued(certificate, ca) for ca in known)


def _issued(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except Exception:  # whatever is wrong with it, it is not good
        return False
    return True


def _new_ca(policy: Policy, now: float) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = f"kubevirt.io@{int(now)}"
    builder = (
        _builder(name, name, key.public_key(), now, policy.ca_duration)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    return Pair(_pem(builder.sign(key, hashes.SHA256())).encode(), _key(key))


def _signed(wanted: Wanted, ca: Pair, policy: Policy, now: float) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = ca.x509
    lasts = min(policy.duration, _ends(issuer) - now)
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if wanted.client else ExtendedKeyUsageOID.SERVER_AUTH
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(wanted.common_name, _name(issuer), key.public_key(), now, lasts)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in wanted.dns]), False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False
        )
    )
    return Pair(_pem(builder.sign(_private(ca), hashes.SHA256())).encode(), _key(key))


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePublicKey, now: float, lasts: float
) -> x509.CertificateBuilder:
    begins = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - SKEW)
        .not_valid_after(begins + datetime.timedelta(seconds=lasts))
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _secret(name: str, namespace: str, pair: Pair) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/tls",
        "data": {
            "tls.crt": b64encode(pair.certificate).decode(),
            "tls.key": b64encode(pair.key).decode(),
        },
    }


def _certificates(bundle: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(bundle.encode())
    except ValueError:
        return []


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _begins(certificate: x509.Certificate) -> float:
    return (certificate.not_valid_before_utc + SKEW).timestamp()


def _ends(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def _lasts(certificate: x509.Certificate) -> float:
    return _ends(certificate) - _begins(certificate)


def _seconds(duration: str | None) -> float | None:
    """None where there is none, or none that can be read."""
    try:
        return seconds(duration or "")
    except ValueError:
        return None
