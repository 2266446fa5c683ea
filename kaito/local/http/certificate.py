"""A certificate for loopback, made at start: an authority that signs one server key and is then forgotten."""

from __future__ import annotations

import ssl
import tempfile
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kaito.clock import Clock

ADDRESSES = ("127.0.0.1", "::1")
NAMES = ("localhost", "kubernetes.default.svc")
LIFE = timedelta(days=365)  # it goes with the process
SKEW = timedelta(minutes=5)


def server_context(now: Clock) -> tuple[ssl.SSLContext, str]:
    """A TLS context for loopback addresses, and the PEM of the authority that vouches for it."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _name("kaito-local-ca")
    begins = now() - SKEW
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())

    def certificate(subject: x509.Name, public: ec.EllipticCurvePublicKey, usage: x509.KeyUsage, *, is_ca: bool,
                    more: tuple[x509.ExtensionType, ...] = ()) -> x509.Certificate:  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + LIFE)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(signed_by, critical=False)
            .add_extension(usage, critical=True)
        )
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(authority_key, hashes.SHA256())

    names = [x509.IPAddress(ip_address(address)) for address in ADDRESSES]
    served = x509.SubjectAlternativeName([*names, *(x509.DNSName(name) for name in NAMES)])
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    root = certificate(authority, authority_key.public_key(), _usage(signs=True), is_ca=True)
    leaf = certificate(_name("kaito-local"), key.public_key(), _usage(signs=False), is_ca=False, more=(served, purpose))
    return _context(key, leaf), root.public_bytes(serialization.Encoding.PEM).decode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs, crl_sign=signs, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _context(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with tempfile.TemporaryDirectory() as folder:  # 0700; the ssl module reads keys from files only
        path = Path(folder) / "server.pem"
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(path)
    return context
