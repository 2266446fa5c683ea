"""The serving certificate: an authority and a leaf signed by it, in the Secret that all replicas share."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kaito.api.meta import Json

LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=90)
SKEW = timedelta(minutes=5)  # clocks of API servers that are behind ours
CA, CERT, KEY = "ca-cert.pem", "server-cert.pem", "server-key.pem"  # upstream's keys


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM texts. The authority's key is thrown away: each rotation makes a new authority."""

    ca_pem: bytes
    cert_pem: bytes
    key_pem: bytes

    def as_data(self) -> Json:
        """The `data` of the Secret."""
        parts = {CA: self.ca_pem, CERT: self.cert_pem, KEY: self.key_pem}
        return {key: base64.b64encode(value).decode() for key, value in parts.items()}


def certificate_in(secret: Json) -> Certificate | None:
    """The certificate of the Secret; None where it holds none."""
    data = secret.get("data") or {}
    try:
        ca, cert, key = (base64.b64decode(data.get(name) or "", validate=True) for name in (CA, CERT, KEY))
    except (binascii.Error, TypeError):
        return None
    return Certificate(ca, cert, key) if ca and cert and key else None


def is_fresh(certificate: Certificate, names: Sequence[str], now: datetime) -> bool:
    """Whether it is for these names, signed by its authority, of its key, and far from its end."""
    try:
        leaf = x509.load_pem_x509_certificate(certificate.cert_pem)
        authority = x509.load_pem_x509_certificate(certificate.ca_pem)
        key = serialization.load_pem_private_key(certificate.key_pem, None)
        leaf.verify_directly_issued_by(authority)
        served = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # whatever is wrong with it, cryptography raises a dozen kinds: a new one is made
        return False
    is_own = key.public_key() == leaf.public_key()
    is_named = set(names) <= set(served.get_values_for_type(x509.DNSName))
    return bool(is_own and is_named and leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc - RENEW_BEFORE)


def make_certificate(names: Sequence[str], now: datetime) -> Certificate:
    """A new authority and a certificate for these DNS names, valid for LIFE."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _sign(authority_key, authority_key, "kaito-webhook-ca", now, is_ca=True, names=())
    leaf = _sign(authority_key, key, names[0], now, is_ca=False, names=names)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return Certificate(root.public_bytes(pem), leaf.public_bytes(pem), private)


def _sign(
    authority: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    subject: str,
    now: datetime,
    *,
    is_ca: bool,
    names: Sequence[str],
) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=is_ca, crl_sign=is_ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name("kaito-webhook-ca"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
    )
    if names:
        served = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(served, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(authority, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])
