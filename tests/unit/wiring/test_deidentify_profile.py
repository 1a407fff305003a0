"""The profile that settings ask for, and what the node's copies do not take."""

from typing import get_args

import pytest

from covnode.deidentify.keys import PseudonymKeys
from covnode.deidentify.options import Option
from covnode.deidentify.profile import node_profile
from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.sections import DeidentifyOption, DeidentifySettings
from covnode.settings import Settings, parse_settings
from covnode.wiring.deidentify_profile import OF_THE_NODE, profile_of, profile_of_the_node
from covnode.wiring.intake import build_intake
from covnode.wiring.node import Node

KEYS = PseudonymKeys(b"a key for tests, never a site's.")


def test_the_default_is_the_nodes_own_profile():
    for profile in (profile_of(DeidentifySettings()), profile_of_the_node(DeidentifySettings())):
        assert profile.options == node_profile().options == {Option.MODIFIED_DATES}
        assert profile.rules == node_profile().rules


def test_settings_name_every_option_that_is_not_chosen_otherwise():
    others = {Option.FULL_DATES, Option.MODIFIED_DATES, Option.SAFE_PRIVATE}
    assert set(get_args(DeidentifyOption)) == {str(option) for option in set(Option) - others}


@pytest.mark.parametrize(
    ("dates", "option"), [("full", {Option.FULL_DATES}), ("modified", {Option.MODIFIED_DATES}), ("removed", set())]
)
def test_dates_are_one_of_three(dates, option):
    assert profile_of(DeidentifySettings(dates=dates)).options == option


def test_a_list_of_what_is_safe_makes_the_option(tmp_path):
    path = tmp_path / "safe.csv"
    path.write_text('creator,tag,vr\nZQ,"0019,xx01",DS\n')
    profile = profile_of(DeidentifySettings(safe_private=str(path)))
    assert Option.SAFE_PRIVATE in profile.options
    assert profile.private("ZQ", 0x00191001) is not None


@pytest.mark.parametrize("name", get_args(DeidentifyOption))
def test_the_intake_takes_an_option_only_if_it_shows_the_worker_no_identity(tmp_path, name):
    settings = Settings(deidentify=DeidentifySettings(options=(name,)))
    node = Node(Home(tmp_path), settings)
    if Option(name) in OF_THE_NODE:
        assert build_intake(node, KEYS) is not None
        return
    with pytest.raises(ConfigurationError, match=f"{name}.*covnode deidentify"):
        build_intake(node, KEYS)


@pytest.mark.parametrize("dates", ["full", "removed"])
def test_the_intake_takes_modified_dates_alone(tmp_path, dates):
    node = Node(Home(tmp_path), Settings(deidentify=DeidentifySettings(dates=dates)))
    with pytest.raises(ConfigurationError, match="dates"):
        build_intake(node, KEYS)


def test_the_intake_takes_no_private_attributes(tmp_path):
    path = tmp_path / "safe.csv"
    path.write_text('creator,tag,vr\nZQ,"0019,xx01",DS\n')
    node = Node(Home(tmp_path), Settings(deidentify=DeidentifySettings(safe_private=str(path))))
    with pytest.raises(ConfigurationError, match="retain_safe_private"):
        build_intake(node, KEYS)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('options = ["clean_graphics"]', "may be letters"),
        ('options = ["retain_safe_private"]', "safe_private"),
        ('options = ["retain_everything"]', "retain_uids"),
        ('dates = "kept"', "removed"),
        ("option = []", "Extra inputs"),
    ],
)
def test_what_is_not_offered_is_explained(line, said):
    with pytest.raises(ConfigurationError, match=said):
        parse_settings(f"[deidentify]\n{line}\n", "the test")
