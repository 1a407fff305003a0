"""The server's side of TLS: who gets through the hand-shake, renewed files, and what is refused at the start."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from certificates import Authority, new_key, pem_of_key, serial_of
from structlog.testing import capture_logs

from covnode.errors import ConfigurationError
from covnode.receive.tls import ReloadingServerContext, expires_at
from covnode.settings import TlsSettings


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "pki")


def hand_shake(server_context, client_context):
    """Shake hands in memory; return the client's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
    pending = [client, server]
    for _ in range(10):
        for side in tuple(pending):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            pending.remove(side)
    assert not pending
    return client


def client_of(authority, own=None):
    context = ssl.create_default_context(cafile=authority.file)
    if own is not None:
        context.load_cert_chain(*own)
    return context


def test_a_client_that_knows_the_ca_gets_through(authority):
    certificate, key = authority.issue()
    client = hand_shake(ReloadingServerContext(certificate, key, None).context(), client_of(authority))
    assert client.version() == "TLSv1.3"
    assert client.compression() is None
    assert int(client.getpeercert()["serialNumber"], 16) == serial_of(certificate)


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"])
def test_tls_1_2_with_the_suites_of_bcp_195_gets_through(authority, suite):
    client = client_of(authority)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(suite)
    shaken = hand_shake(ReloadingServerContext(*authority.issue(), None).context(), client)
    assert shaken.cipher()[:2] == (suite, "TLSv1.2")


@pytest.mark.parametrize(
    "suites", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "DHE-RSA-AES128-GCM-SHA256", "AES128-GCM-SHA256"]
)
@pytest.mark.parametrize("rsa_bits", [0, 2048])
def test_suites_without_forward_secrecy_or_authenticated_encryption_are_refused(authority, suites, rsa_bits):
    client = client_of(authority)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(suites)
    server = ReloadingServerContext(*authority.issue(key=new_key(rsa_bits)), None)
    with pytest.raises(ssl.SSLError, match=r"(?i)no.shared.cipher"):
        hand_shake(server.context(), client)


def test_tls_1_1_is_refused(authority):
    client = client_of(authority)
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"(?i)version|protocol"):
        hand_shake(ReloadingServerContext(*authority.issue(), None).context(), client)


def test_no_session_can_be_taken_up_again(authority):
    context = ReloadingServerContext(*authority.issue(), None).context()
    assert context.options & ssl.OP_NO_TICKET
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert hand_shake(context, client_of(authority)).session_reused is False


def test_with_client_cas_only_their_clients_get_through(authority, tmp_path):
    server = ReloadingServerContext(*authority.issue(), authority.file)
    own = authority.issue("scanner")
    hand_shake(server.context(), client_of(authority, own))
    stranger = Authority(tmp_path / "stranger", "CA of somebody else").issue("scanner")
    for context in (client_of(authority, stranger), client_of(authority)):
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
            hand_shake(server.context(), context)


def test_a_renewed_certificate_is_used_without_a_restart(authority):
    certificate, key = authority.issue()
    server = ReloadingServerContext(certificate, key, None)
    before = server.context()
    assert server.context() is before
    old = serial_of(certificate)
    authority.issue()
    client = hand_shake(server.context(), client_of(authority))
    assert int(client.getpeercert()["serialNumber"], 16) == serial_of(certificate) != old


def test_while_only_one_of_the_files_is_renewed_the_old_ones_are_used(authority):
    certificate, key = authority.issue()
    server = ReloadingServerContext(certificate, key, None)
    in_use = server.context()
    new_certificate, new_key_file = authority.issue("renewed")
    with capture_logs() as logs:
        new_certificate.replace(certificate)
        assert server.context() is in_use
        assert server.context() is in_use
    assert [(line["event"], line["log_level"]) for line in logs] == [("tls_files_broken", "error")]
    assert "is not the key of the certificate" in logs[0]["reason"]
    new_key_file.replace(key)
    client = hand_shake(server.context(), client_of(authority))
    assert int(client.getpeercert()["serialNumber"], 16) == serial_of(certificate)


def test_a_certificate_that_vanishes_stays_in_use(authority):
    certificate, key = authority.issue()
    server = ReloadingServerContext(certificate, key, None)
    certificate.unlink()
    hand_shake(server.context(), client_of(authority))


def test_client_cas_are_renewed_too(authority, tmp_path):
    certificate, key = authority.issue()
    client_ca = tmp_path / "clients.pem"
    client_ca.write_bytes(authority.file.read_bytes())
    server = ReloadingServerContext(certificate, key, client_ca)
    other = Authority(tmp_path / "other", "CA of the new scanners")
    client_ca.write_bytes(other.file.read_bytes())
    hand_shake(server.context(), client_of(authority, other.issue("scanner")))
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
        hand_shake(server.context(), client_of(authority, authority.issue("scanner")))


def settings_of(authority, **changes):
    certificate, key = authority.issue()
    return TlsSettings(**{"certificate": str(certificate), "key": str(key), "client_ca": "", **changes})


@pytest.mark.parametrize("setting", ["certificate", "key", "client_ca"])
def test_a_missing_file_is_named_with_its_setting(authority, tmp_path, setting):
    settings = settings_of(authority, **{setting: "nothing.pem"})
    with pytest.raises(ConfigurationError, match=rf"^tls\.{setting}: {tmp_path}/nothing\.pem cannot be read"):
        ReloadingServerContext.of(settings, tmp_path)


@pytest.mark.parametrize("setting", ["certificate", "key"])
def test_a_setting_that_is_empty_is_named(authority, tmp_path, setting):
    with pytest.raises(ConfigurationError, match=rf"^tls\.{setting} names no file.*covnode config set"):
        ReloadingServerContext.of(settings_of(authority, **{setting: ""}), tmp_path)


@pytest.mark.parametrize(
    "content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
@pytest.mark.parametrize("setting", ["certificate", "key", "client_ca"])
def test_a_file_with_something_else_is_named_with_its_setting(authority, tmp_path, setting, content):
    (tmp_path / "other.pem").write_text(content)
    with pytest.raises(ConfigurationError, match=rf"tls\.{setting}\b.*other\.pem"):
        ReloadingServerContext.of(settings_of(authority, **{setting: "other.pem"}), tmp_path)


def test_the_key_of_another_certificate_is_refused(authority, tmp_path):
    _, other_key = authority.issue("other")
    with pytest.raises(ConfigurationError, match=r"^tls\.key: .*other\.key is not the key"):
        ReloadingServerContext.of(settings_of(authority, key=str(other_key)), tmp_path)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(authority, tmp_path):
    key = new_key()
    certificate, key_file = authority.issue("locked", key=key)
    key_file.write_bytes(pem_of_key(key, b"secret"))
    with pytest.raises(ConfigurationError, match=r"^tls\.key: .*locked by a passphrase"):
        ReloadingServerContext(certificate, key_file, None)


def test_a_short_rsa_key_is_refused(authority):
    certificate, key = authority.issue(key=new_key(rsa_bits=1024))
    with pytest.raises(ConfigurationError, match=r"RSA with 2048 bits"):
        ReloadingServerContext(certificate, key, None)


def test_a_comment_in_any_language_does_no_harm(authority):
    certificate, key = authority.issue()
    for file in (certificate, key, authority.file):
        file.write_bytes("Röntgenabteilung\n".encode() + file.read_bytes())
    server = ReloadingServerContext(certificate, key, authority.file)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=authority.file.read_text(encoding="ascii", errors="ignore"))
    client.load_cert_chain(certificate, key)
    hand_shake(server.context(), client)


def test_expiry_is_that_of_the_first_certificate_to_expire(authority):
    short, _ = authority.issue("short", days=10)
    long, _ = authority.issue("long", days=300)
    chain = authority.folder / "chain.pem"
    chain.write_bytes(long.read_bytes() + short.read_bytes())
    assert timedelta(days=9.9) < expires_at(chain) - datetime.now(UTC) < timedelta(days=10)
