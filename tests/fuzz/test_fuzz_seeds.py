"""What fuzzing found, and what is most likely to break, again and again: refused at most, and at once."""

import random
import time
from pathlib import Path

import pytest
from broken_streams import CONTEXTS, DEFLATED, SYNTAXES, broken_data_set, deflated, in_syntax, stream
from dicom_instances import SyntheticSeries
from dicom_sender import EXPLICIT_LE
from fuzz_receive import throw
from hypothesis import given
from hypothesis import strategies as st
from in_process_targets import TARGETS
from receiving_node import ReceivingNode
from storage_servers import wait_for

from covnode.cli.local_node import NODE_AE
from covnode.errors import InstanceRefused
from covnode.receive.header import STUDY_INSTANCE_UID, scan
from covnode.receive.header_layout import Layouts

SEEDS = Path(__file__).parent / "seeds"
AT_ONCE_S = 5.0
SERIES = SyntheticSeries(1, 16)


def seeds(target: str) -> list[Path]:
    return sorted((SEEDS / target).iterdir())


@pytest.mark.parametrize(("target", "seed"), [(target, seed.name) for target in TARGETS for seed in seeds(target)])
def test_a_seed_is_refused_at_most_and_at_once(target, seed):
    data = (SEEDS / target / seed).read_bytes()
    started_s = time.monotonic()
    TARGETS[target](data)
    assert time.monotonic() - started_s < AT_ONCE_S


@given(st.binary(max_size=2000), st.sampled_from(sorted(TARGETS)))
def test_any_bytes_are_refused_at_most(data, target):
    TARGETS[target](data)


@given(st.integers(0, 2**32), st.sampled_from(SYNTAXES))
def test_any_broken_data_set_is_refused_at_most(seed, syntax):
    TARGETS["data_set"](bytes([SYNTAXES.index(syntax)]) + broken_data_set(random.Random(seed), 1, syntax))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_sound_data_set_is_read_in_every_encoding(syntax):
    data = in_syntax(SERIES.data_set(1), syntax)
    values = scan(lambda count: data[:count], syntax, Layouts())
    assert values == scan(lambda count: SERIES.data_set(1)[:count], EXPLICIT_LE, Layouts())
    assert len(values) > 8


@pytest.mark.parametrize("end", [1 << 16, 1 << 19])
def test_a_header_is_read_on_where_an_element_ends_with_the_bytes_read_so_far(end):
    whole = SERIES.data_set(1)
    place = whole.index(b"\x10\x00\x10\x00")
    private_bytes = end - place - 12
    private = b"\x09\x00\x30\x10OB\0\0" + private_bytes.to_bytes(4, "little") + bytes(private_bytes)
    data = whole[:place] + private + whole[place:]
    assert STUDY_INSTANCE_UID in scan(lambda count: data[:count], EXPLICIT_LE, Layouts())


def test_a_deflated_bomb_of_empty_elements_is_refused_at_once():
    bomb = deflated(b"\x08\x00\x01\x00CS\0\0" * (1 << 22))
    assert len(bomb) < 100_000
    started_s = time.monotonic()
    with pytest.raises(InstanceRefused, match="too many elements"):
        scan(lambda count: bomb[:count], DEFLATED, Layouts())
    assert time.monotonic() - started_s < AT_ONCE_S


def test_a_seed_of_streams_makes_the_same_stream_again():
    assert stream(random.Random(4), NODE_AE) == stream(random.Random(4), NODE_AE)
    assert len(CONTEXTS) == 7


@pytest.mark.slow
def test_a_receiver_answers_after_every_seed_of_streams(tmp_path):
    node = ReceivingNode(tmp_path / "home")
    node.init()
    node.configure(**{"receive.network_timeout_s": "2"})
    try:
        node.start_receiver()
        for number in map(int, (SEEDS / "streams.txt").read_text().split()):
            assert throw(node.port, NODE_AE, number) is None
            assert node.answers(), number
        # A row follows its file within half a second.
        wait_for(lambda: node.kept() == node.recorded(), "the rows of what was answered", AT_ONCE_S)
        assert "Traceback" not in node.log.read_text()
    finally:
        node.stop()
