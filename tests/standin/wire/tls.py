"""adapter: the server's end of TLS over bytes that somebody else carries, and the certificate it shows."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CHUNK = 256 * 1024


class Tls:
    """One connection's encryption; no sockets."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def handshake(self, data: bytes) -> tuple[bytes, bool]:
        """What to send, and whether the handshake is done. Raises ssl.SSLError."""
        self._incoming.write(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read(), False
        return self._outgoing.read(), True

    def decrypt(self, data: bytes) -> bytes:
        """Plain bytes, as many as are complete. Raises ssl.SSLError."""
        self._incoming.write(data)
        plain = []
        try:
            while part := self._object.read(_CHUNK):
                plain.append(part)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return b"".join(plain)

    def encrypt(self, data: bytes) -> bytes:
        """Records that carry `data`."""
        if data:
            self._object.write(data)
        return self._outgoing.read()


def make_context(certificate: Path) -> ssl.SSLContext:
    """A fresh self-signed certificate for localhost, its PEM (without the key) left at `certificate`."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = _self_signed(key).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # TDS 7.4 carries the handshake inside PRELOGIN packets and knows only TLS 1.2: 1.3 sends tickets after it.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    both = certificate.with_name(certificate.name + ".key")  # load_cert_chain reads files only
    both.touch(mode=0o600)
    try:
        both.write_bytes(private + pem)
        context.load_cert_chain(both)
    finally:
        both.unlink()
    certificate.write_bytes(pem)
    return context


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
    usage = x509.KeyUsage(True, False, False, False, True, True, False, False, False)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1))
        .not_valid_after(datetime(2099, 1, 1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
