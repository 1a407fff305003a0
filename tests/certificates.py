"""A small certification authority, and what it signs, for tests of TLS."""

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


def new_key(rsa_bits=0):
    """An elliptic curve's key is quick to make; RSA where a test is about its length."""
    return rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())


def pem_of_key(key, passphrase=b""):
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)


@dataclass
class Authority:
    """A CA of the test; ``folder`` gets all files."""

    folder: Path
    name: str = "CA of the test"
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    serials: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.folder.mkdir(exist_ok=True)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        self.certificate = self._signed(subject, subject, self.key, x509.BasicConstraints(ca=True, path_length=None))
        self.file = self.folder / "ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name="node", *, key=None, days=90.0):
        """Write NAME.pem and NAME.key, whose certificate is valid for 127.0.0.1; return both paths."""
        key = key or new_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(
            subject, self.certificate.subject, key, x509.BasicConstraints(ca=False, path_length=None), days
        )
        file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self.serials.append(certificate.serial_number)
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(pem_of_key(key))
        return file, key_file

    def _signed(self, subject, issuer, key, constraints, days=90.0):
        now = datetime.now(UTC)
        local = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectAlternativeName(local), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def serial_of(file):
    return x509.load_pem_x509_certificate(file.read_bytes()).serial_number
