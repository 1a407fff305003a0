import pytest

from covnode.errors import ConfigurationError
from covnode.settings import Settings
from covnode.wiring.stow_protection import StowProtection

TOKEN = "t" * 20


def settings(bind="0.0.0.0", **stow):
    return Settings.model_validate({"receive": {"bind": bind}, "stow": {"enabled": True, "tls": False, **stow}})


def test_an_open_door_to_the_network_refuses_to_start(tmp_path):
    with pytest.raises(ConfigurationError, match=r"stow\.token_file"):
        StowProtection.of(settings(), tmp_path)


@pytest.mark.parametrize("bind", ["127.0.0.1", "::1", "localhost"])
def test_on_the_loopback_address_no_token_is_needed(tmp_path, bind):
    assert StowProtection.of(settings(bind), tmp_path).source_of(None) == "STOW"


def test_a_token_file_lies_relative_to_the_home_and_is_asked_for(tmp_path):
    (tmp_path / "tokens").write_text(f"CT:{TOKEN}")
    protection = StowProtection.of(settings(token_file="tokens"), tmp_path)
    assert protection.source_of(None) is None
    assert protection.source_of(f"Bearer {TOKEN}") == "CT"


def test_tls_without_a_certificate_refuses_to_start(tmp_path):
    with pytest.raises(ConfigurationError, match=r"tls\.certificate"):
        StowProtection.of(settings("127.0.0.1", tls=True), tmp_path)
