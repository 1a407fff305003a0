"""The doctor's look at the node's certificate."""

import pytest
from certificates import Authority

from covnode.cli.doctor import _certificate
from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.settings import Settings, StowSettings, TlsSettings
from covnode.wiring.node import Node


@pytest.fixture
def node(tmp_path):
    """Return a function that makes a node whose certificate is valid for some days, relative to its home."""

    def make(days, **sections):
        Authority(tmp_path / "pki").issue(days=days)
        tls = TlsSettings(enabled="stow" not in sections, certificate="pki/node.pem", key="pki/node.key")
        return Node(Home(tmp_path), Settings(**{"tls": tls, **sections}))

    return make


def test_a_certificate_that_is_valid_for_long_is_well(node):
    assert _certificate(node(90.5)) == "valid for 90 days"


@pytest.mark.parametrize(
    ("days", "finding"), [(29.5, "expires on 20"), (0.5, "expires on 20"), (-0.5, "has expired on 20")]
)
def test_a_certificate_that_expires_soon_is_found(node, days, finding):
    with pytest.raises(ConfigurationError, match=rf"^pki/node\.pem {finding}.*renew it"):
        _certificate(node(days))


def test_the_certificate_of_stow_rs_is_looked_at_too(node):
    with pytest.raises(ConfigurationError, match="renew it"):
        _certificate(node(1, stow=StowSettings(enabled=True)))


def test_files_that_do_not_work_are_found(node, tmp_path):
    broken = node(90)
    (tmp_path / "pki" / "node.key").unlink()
    with pytest.raises(ConfigurationError, match=r"^tls\.key: .* cannot be read"):
        _certificate(broken)


def test_without_tls_no_certificate_is_needed(tmp_path):
    assert _certificate(Node(Home(tmp_path), Settings())) == "none is needed: TLS is off"
