"""DICOM TLS: the server's side of the hand-shake, with certificates that may be renewed while it serves.

Comes from the settings; goes to the doors, which ask for the context in force at every connection. The context follows
the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12), and with it the Non-Downgrading
BCP 195 TLS Profile (B.10) that older senders speak: never below TLS 1.2. It reads no DICOM and wraps no socket.
"""

import ssl
import threading
from datetime import datetime
from pathlib import Path

from cryptography import x509

from covnode.errors import ConfigurationError
from covnode.logs import get_logger
from covnode.settings import TlsSettings

# RFC 9325 4.2: forward secrecy and authenticated encryption. Those of TLS 1.3 are all of this kind. OpenSSL's level 2
# refuses RSA keys below 2048 bits and signatures by SHA-1.
_SUITES_OF_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"

_Stamp = tuple[int, int, int] | None
"""Time of change, size and inode of a file; None when it is not there."""


class ReloadingServerContext:
    """An SSL context that is made anew when one of its files has changed.

    Parameters
    ----------
    certificate
        The node's certificate with its chain, PEM.
    key
        Its private key, PEM, without a passphrase.
    client_ca
        The CAs whose clients may connect, PEM; None: clients need no certificate.

    Raises
    ------
    ConfigurationError
        A file is missing, cannot be read, or does not belong to the others.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._lock = threading.Lock()
        self._stamps = self._stamps_now()
        self._context = self._made()

    @classmethod
    def of(cls, settings: TlsSettings, folder: Path) -> "ReloadingServerContext":
        """Return the context that the settings ask for; their paths are relative to ``folder``.

        Raises
        ------
        ConfigurationError
            As for the class, or no certificate or key is named.
        """
        for key, value in (("tls.certificate", settings.certificate), ("tls.key", settings.key)):
            if not value:
                raise ConfigurationError(
                    f"{key} names no file, and TLS needs one: set it by 'covnode config set {key} FILE'."
                )
        client_ca = folder / settings.client_ca if settings.client_ca else None
        return cls(folder / settings.certificate, folder / settings.key, client_ca)

    def context(self) -> ssl.SSLContext:
        """Return the context in force: of the files as they are now or, when those are broken, as they were."""
        with self._lock:
            stamps = self._stamps_now()
            if stamps != self._stamps:
                self._stamps = stamps
                try:
                    self._context = self._made()
                except ConfigurationError as error:
                    get_logger().error("tls_files_broken", kept="the certificate in use", reason=str(error))
                else:
                    get_logger().info("tls_files_reloaded", expires=expires_at(self._certificate).isoformat())
            return self._context

    def _stamps_now(self) -> list[_Stamp]:
        return [_stamp(path) for path in (self._certificate, self._key, self._client_ca) if path is not None]

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_SUITES_OF_TLS_1_2)
        # A ticket would let a client back in under a certificate or a CA that has been taken away since (RFC 9325 3.4);
        # an association is long, so that a whole hand-shake for each costs nothing.
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        context.num_tickets = 0
        self._load_own(context)
        if self._client_ca is not None:
            self._load_client_ca(context, self._client_ca)
        return context

    def _load_own(self, context: ssl.SSLContext) -> None:
        expires_at(self._certificate)  # refuses a file that is no certificate, by a better word than OpenSSL has
        if "ENCRYPTED" in _text(self._key, "tls.key"):
            raise ConfigurationError(
                f"tls.key: {self._key} is locked by a passphrase, which nobody can type for a service: "
                "take it off ('openssl pkey -in KEY -out FILE') and let only the node's user read the file."
            )
        try:
            context.load_cert_chain(self._certificate, self._key)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise ConfigurationError(
                    f"tls.key: {self._key} is not the key of the certificate {self._certificate}: "
                    "name the two files that were made together."
                ) from None
            raise ConfigurationError(
                f"tls.certificate and tls.key: {self._certificate} and {self._key} cannot be used "
                f"({error.reason or 'no PEM'}): give a PEM certificate with its chain, and its PEM key "
                "of RSA with 2048 bits or more, or of an elliptic curve."
            ) from None
        except OSError as error:
            raise _unreadable("tls.certificate", self._certificate, error) from None

    @staticmethod
    def _load_client_ca(context: ssl.SSLContext, client_ca: Path) -> None:
        text = _text(client_ca, "tls.client_ca")
        try:
            context.load_verify_locations(cadata=text)
        except (ssl.SSLError, ValueError):
            raise ConfigurationError(
                f"tls.client_ca: {client_ca} holds no CA certificate in PEM: give one, "
                'or set the key to "" so that clients need no certificate.'
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED


def expires_at(certificate: Path) -> datetime:
    """Return when the first certificate of a PEM file to expire does so.

    Raises
    ------
    ConfigurationError
        The file cannot be read or holds no certificate.
    """
    text = _text(certificate, "tls.certificate")
    try:
        return min(found.not_valid_after_utc for found in x509.load_pem_x509_certificates(text.encode("ascii")))
    except ValueError:
        raise ConfigurationError(
            f"tls.certificate: {certificate} holds no certificate in PEM: "
            "give the node's certificate, followed by those of its chain."
        ) from None


def _text(path: Path, key: str) -> str:
    try:
        return path.read_text(encoding="ascii", errors="ignore")
    except OSError as error:
        raise _unreadable(key, path, error) from None


def _unreadable(key: str, path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{key}: {path} cannot be read: {error.strerror}. Name a file that the node's user may read."
    )


def _stamp(path: Path) -> _Stamp:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino
