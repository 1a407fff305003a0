import itertools
import tracemalloc
from collections import deque
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stow_bodies import BOUNDARY, data_set_of, multipart, part10
from stow_service import TAKEN, StowUnderTest

from covnode.errors import InstanceRefused
from covnode.receive.multipart_body import MultipartBody
from covnode.receive.part10_stream import MetaReader
from covnode.records.arrival import Ended, Stored

# Pixels that look like what a parser looks for, at the edges and in the middle.
AWKWARD = f"\r\n--{BOUNDARY}\r".encode() + b"\r\n\r\n--" + f"\r\n--{BOUNDARY[:-1]}\r\n--\r\n".encode()


class Parts:
    """A sink that keeps all."""

    def __init__(self):
        self.whole, self.headers, self.open = [], [], None

    def begin(self, headers):
        self.headers.append(headers)
        self.open = b""

    def write(self, data):
        self.open += data

    def end(self):
        self.whole.append(self.open)
        self.open = None


def split(body, places):
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[a:b] for a, b in itertools.pairwise(edges)]


@given(
    payloads=st.lists(
        st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", BOUNDARY.encode(), b"\r\n--", b"x", AWKWARD])).map(
            b"".join
        ),
        min_size=1,
        max_size=4,
    ).filter(lambda payloads: all(not _holds_delimiter(payload) for payload in payloads)),
    places=st.lists(st.integers(0, 10_000), max_size=30),
)
@settings(max_examples=300, deadline=None)
def test_any_chunking_gives_the_same_parts(payloads, places):
    sink = Parts()
    body = MultipartBody(BOUNDARY.encode(), sink)
    for chunk in split(multipart(*payloads), places):
        body.feed(chunk)
    body.finish()
    assert sink.whole == payloads
    assert sink.headers == [{"content-type": "application/dicom"}] * len(payloads)


def _holds_delimiter(payload):
    """RFC 2046 5.1.1: a sender chooses a boundary that no part holds, at the start of a part neither."""
    return f"\r\n--{BOUNDARY}".encode() in b"\r\n" + payload


def test_one_byte_at_a_time_gives_the_same_parts():
    payloads = [b"\r\n--", b"", b"\r\n--" + BOUNDARY[:-1].encode() + b"\r\n", b"--" * 9]
    sink = Parts()
    body = MultipartBody(BOUNDARY.encode(), sink)
    for byte in multipart(*payloads):
        body.feed(bytes([byte]))
    body.finish()
    assert sink.whole == payloads


def test_too_many_parts_are_refused(monkeypatch):
    monkeypatch.setattr("covnode.receive.multipart_body._MAX_PARTS", 2)
    body = MultipartBody(BOUNDARY.encode(), Parts())
    with pytest.raises(InstanceRefused):
        body.feed(multipart(b"1", b"2", b"3"))


def test_endless_headers_are_refused():
    body = MultipartBody(BOUNDARY.encode(), Parts())
    body.feed(f"--{BOUNDARY}\r\nName: ".encode())
    with pytest.raises(InstanceRefused):
        deque((body.feed(b"x" * 1000) for _ in range(100)), maxlen=0)


@given(places=st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_chunking_of_a_file_gives_its_meta_and_the_same_data_set(places):
    file = part10(7)
    reader, found, data_set = MetaReader(), None, b""
    for chunk in split(file, places):
        if found is None:
            found = reader.feed(memoryview(chunk))
            data_set = b"" if found is None else bytes(found[1])
        else:
            data_set += chunk
    assert found[0].sop_instance_uid == "1.2.3.4.7"
    assert data_set == data_set_of(file)


@pytest.mark.parametrize(
    "file",
    [
        b"x" * 200,
        b"\0" * 128 + b"DICM" + b"\x02\0\x01\0UL\4\0" + bytes(100),
        b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\4\0" + b"\xff\xff\xff\x7f" + bytes(100),
        b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\4\0" + b"\x04\0\0\0" + b"\x02\0\x02\0",
        part10(1).replace(b"1.2.3.4.1", b"1.2.3/4.1", 1),
    ],
)
def test_what_is_no_part_10_file_is_refused_as_not_understood(file):
    with pytest.raises(InstanceRefused) as refusal:
        MetaReader().feed(memoryview(file))
    assert refusal.value.status == 0xC000


@given(places=st.lists(st.integers(0, 10_000), min_size=1, max_size=20))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_chunking_of_a_request_keeps_the_same_instances(tmp_path_factory, places):
    files = [part10(1, pixels=AWKWARD), part10(2), part10(3, pixels=AWKWARD * 5)]
    stow = StowUnderTest(tmp_path_factory.mktemp("spool"))

    async def body():
        for chunk in split(multipart(*files), places):
            yield chunk

    assert stow.send(body()).status_code == 200
    assert sorted(map(data_set_of, stow.stored().values())) == sorted(map(data_set_of, files))


@pytest.mark.parametrize("path", ["/studies", "/studies/1.2.3"])
def test_an_upload_of_200_mb_stays_within_a_bounded_memory(tmp_path, path):
    stow = StowUnderTest(tmp_path, taken=replace(TAKEN, max_bytes=10**9))
    file = part10(1, pixels=b"")
    chunk, count = bytes(range(256)) * 256, 200_000_000 // 65536

    async def body():
        yield multipart(file[:-4] + (count * len(chunk)).to_bytes(4, "little"), end=False)
        for _ in range(count):
            yield chunk
        yield f"\r\n--{BOUNDARY}--".encode()

    tracemalloc.start()
    response = stow.send(body(), path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.status_code == 200
    assert stow.messages[0].instance.size_bytes > count * len(chunk)
    assert peak_bytes < 16_000_000


@given(
    damage=st.lists(
        st.tuples(st.integers(0, 10_000), st.binary(max_size=8), st.integers(0, 40)), min_size=1, max_size=4
    ),
    places=st.lists(st.integers(0, 10_000), max_size=8),
)
@settings(max_examples=100, deadline=None)
def test_a_damaged_body_is_answered_and_leaves_nothing_half(tmp_path_factory, damage, places):
    body = multipart(part10(1, pixels=AWKWARD), part10(2), part10(3))
    for place, bytes_instead, length in damage:
        start = place % len(body)
        body = body[:start] + bytes_instead + body[start + length :]
    stow = StowUnderTest(tmp_path_factory.mktemp("spool"))

    async def chunks():
        for chunk in split(body, places):
            yield chunk

    response = stow.send(chunks())
    assert response.status_code in {200, 202, 400, 409}
    answered = response.json().get("00081199", {"Value": []})["Value"]
    assert len(answered) == len([kind for kind in stow.kinds() if kind is Stored]) >= len(stow.stored())
    assert list(stow.incoming.iterdir()) == []
    assert stow.kinds()[-1] is Ended
