"""Who has an AE title, for those who ask by it."""

import pytest

from covnode.errors import ConfigurationError
from covnode.settings import PeerSettings, Settings
from covnode.wiring.counting import SourceCounts
from covnode.wiring.fetching import peer_of


def peer(ae_title, **options):
    return PeerSettings(ae_title=ae_title, host="h", port=104, **options)


SETTINGS = Settings(
    peers={"pacs": peer("PACS"), "ct": peer("SCANNER"), "ct-asked": peer("SCANNER", count_by_find=True)},
)


def test_all_peers_of_a_title_are_found_whatever_spaces_are_around_it():
    assert list(SETTINGS.peers_called(" PACS ")) == ["pacs"]
    assert list(SETTINGS.peers_called("SCANNER")) == ["ct", "ct-asked"]
    assert SETTINGS.peers_called("pacs") == {}


def test_a_source_is_asked_by_the_one_peer_of_its_title_that_may_be():
    counts = SourceCounts(SETTINGS, lambda *_question: None)
    assert counts.knows("SCANNER ")
    assert not counts.knows("PACS")


def test_a_peer_is_named_by_its_name_or_by_a_title_that_it_alone_has():
    assert (peer_of(SETTINGS, "ct").name, peer_of(SETTINGS, "PACS").name) == ("ct", "pacs")
    with pytest.raises(ConfigurationError, match="several peers"):
        peer_of(SETTINGS, "SCANNER")
    with pytest.raises(ConfigurationError, match="there is no peer"):
        peer_of(SETTINGS, "ELSEWHERE")
