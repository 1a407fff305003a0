import json
import threading
from dataclasses import replace

import anyio
import pytest
from dicom_instances import digest_of
from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage, ImplicitVRLittleEndian
from stow_bodies import BOUNDARY, CONTENT_TYPE, STUDY, data_set_of, multipart, part10
from stow_service import TAKEN, FakeGate, StowUnderTest

from covnode.receive.spool import Spool
from covnode.receive.stow import StowLimits
from covnode.records.arrival import Ended, Stored


@pytest.fixture
def stow(tmp_path):
    return StowUnderTest(tmp_path)


def answer(response):
    assert response.headers["content-type"] == "application/dicom+json"
    return Dataset.from_json(response.text)


def reasons(response):
    return {item.ReferencedSOPInstanceUID: item.FailureReason for item in answer(response).FailedSOPSequence}


def test_all_stored_is_answered_200_after_all_are_in_the_spool(stow):
    files = [part10(1), part10(2)]
    response = stow.send(multipart(*files))
    assert response.status_code == 200
    names = {f"{digest_of(data_set_of(file))}.dcm": data_set_of(file) for file in files}
    assert {name: data_set_of(file) for name, file in stow.stored().items()} == names
    referenced = answer(response).ReferencedSOPSequence
    assert [item.ReferencedSOPInstanceUID for item in referenced] == ["1.2.3.4.1", "1.2.3.4.2"]
    assert "FailedSOPSequence" not in answer(response)


def test_each_durable_instance_is_told_under_the_request_and_then_its_end(stow):
    stow.send(multipart(part10(1), part10(2)))
    stow.send(multipart(part10(3)))
    assert stow.kinds() == [Stored, Stored, Ended, Stored, Ended]
    one, _, end, other, _ = stow.messages
    assert end.released
    assert one.association_id == end.association_id != other.association_id
    assert one.instance.source_ae_title == "CT1"


def test_some_failed_is_answered_202_with_their_reasons(tmp_path):
    taken = replace(TAKEN, transfer_syntaxes=frozenset({"1.2.840.10008.1.2.1"}), max_bytes=1000)
    stow = StowUnderTest(tmp_path, taken=taken)
    response = stow.send(
        multipart(
            part10(1),
            part10(2, SOPClassUID=EnhancedCTImageStorage),
            part10(3, transfer_syntax=ImplicitVRLittleEndian),
            part10(4, pixels=bytes(1000)),
            part10(5).replace(b"1.2.3.4.5\0", b"1.2.3.4.6\0", 1),  # its file meta names another instance
            b"noise" * 100,
            b"",
        )
    )
    assert response.status_code == 202
    assert reasons(response) == {
        "1.2.3.4.2": 0x0122,
        "1.2.3.4.3": 0xC122,
        "1.2.3.4.4": 0xA700,
        "1.2.3.4.6": 0xA900,
    }
    assert [item.FailureReason for item in answer(response).OtherFailuresSequence] == [0xC000, 0xC000]
    assert len(stow.stored()) == 1
    assert stow.kinds() == [Stored, Ended]
    assert list(stow.incoming.iterdir()) == []


def test_all_failed_is_answered_409(stow):
    response = stow.send(multipart(part10(1, SOPClassUID=EnhancedCTImageStorage)))
    assert (response.status_code, reasons(response)) == (409, {"1.2.3.4.1": 0x0122})


def test_an_instance_of_another_study_than_the_url_names_is_not_kept(stow):
    mine, other = part10(1), part10(2, StudyInstanceUID="1.2.99")
    response = stow.send(multipart(mine, other), f"/studies/{STUDY}")
    assert (response.status_code, reasons(response)) == (202, {"1.2.3.4.2": 0xA900})
    assert len(stow.stored()) == 1
    assert stow.send(multipart(other), f"/studies/{STUDY}").status_code == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"noise", 400),
        (multipart(), 400),
        (multipart(part10(1), end=False), 400),
        (multipart(part10(1), part10(2), end=False), 202),
        (f"--{BOUNDARY}\r\nno header\r\n\r\n".encode(), 400),
    ],
)
def test_a_malformed_body_keeps_what_was_whole_and_nothing_else(stow, body, status):
    assert stow.send(body).status_code == status
    assert len(stow.stored()) == (status == 202)
    assert list(stow.incoming.iterdir()) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer other"}, 401),
        ({"Content_Type": "application/dicom"}, 415),
        ({"Content_Type": None}, 415),
        ({"Content_Type": f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}'}, 415),
        ({"Content_Encoding": "gzip"}, 415),
        ({"Content_Type": 'multipart/related; type="application/dicom"'}, 400),
        ({"Content_Type": f"multipart/related; boundary={'x' * 300}"}, 400),
        ({"Accept": "application/dicom+xml"}, 406),
        ({"Accept": "application/dicom+json;q=0, */*"}, 406),
        ({"path": "/studies/not-a-uid"}, 400),
        ({"address": "192.0.2.66"}, 403),
    ],
)
def test_a_request_that_cannot_be_taken_is_refused_unread(stow, headers, status):
    response = stow.send(multipart(part10(1)), **headers)
    assert response.status_code == status
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert stow.stored() == {}
    assert stow.messages == []


@pytest.mark.parametrize("accept", ["application/dicom+json", "*/*", "text/html, application/*;q=0.1", None])
def test_a_sender_that_takes_the_answer_is_answered(stow, accept):
    assert stow.send(multipart(part10(1)), Accept=accept).status_code == 200


def test_a_closed_gate_is_answered_503_and_a_time_to_try_again(tmp_path):
    stow = StowUnderTest(tmp_path, gate=FakeGate(["the disk is full"]))
    response = stow.send(multipart(part10(1)))
    assert (response.status_code, response.headers["retry-after"]) == (503, "30")
    assert "disk" not in response.text
    assert stow.messages == []


def test_instances_that_come_after_the_gate_closed_fail_as_out_of_resources(tmp_path):
    stow = StowUnderTest(tmp_path, gate=FakeGate([None, None, "the disk is full"]))
    response = stow.send(multipart(part10(1), part10(2)))
    assert (response.status_code, reasons(response)) == (202, {"1.2.3.4.2": 0xA700})


class BrokenSpool(Spool):
    error: Exception = OSError(28, "No space left on device")

    def begin(self, command):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [(OSError(28, "full"), 503, 0xA700), (RuntimeError("1.2.3 Doe"), 409, 0x0110)],
)
def test_a_broken_spool_is_never_answered_as_stored(tmp_path, error, status, reason, capsys):
    spool = BrokenSpool(tmp_path, tmp_path, str)
    spool.error = error
    response = StowUnderTest(tmp_path, spool=spool).send(multipart(part10(1)))
    assert (response.status_code, reasons(response)) == (status, {"1.2.3.4.1": reason})
    assert ("retry-after" in response.headers) == (status == 503)
    assert "Doe" not in capsys.readouterr().err


def test_only_oversize_instances_are_answered_413(tmp_path):
    stow = StowUnderTest(tmp_path, taken=replace(TAKEN, max_bytes=1000))
    response = stow.send(multipart(part10(1, pixels=bytes(2000))))
    assert (response.status_code, reasons(response)) == (413, {"1.2.3.4.1": 0xA700})
    assert list(stow.incoming.iterdir()) == []


def test_a_part_of_another_type_or_encoding_fails_alone(stow):
    body = multipart(part10(1), end=False)
    body += multipart(part10(2), headers="Content-Type: text/plain\r\n", end=False)
    body += multipart(part10(3), headers="content-transfer-encoding: base64\r\n", end=False)
    response = stow.send(body + multipart(part10(4), headers=""))
    assert response.status_code == 202
    assert [item.FailureReason for item in answer(response).OtherFailuresSequence] == [0xC000, 0xC000]
    assert len(answer(response).ReferencedSOPSequence) == 2


def test_the_logs_of_a_request_name_no_instance(stow, capsys):
    stow.send(multipart(part10(1), part10(2, SOPClassUID=EnhancedCTImageStorage)), f"/studies/{STUDY}")
    out = capsys.readouterr()
    logged = out.out + out.err
    assert "stow_request" in logged
    assert not [word for word in ("1.2.3", "Doe", 'P1"') if word in logged]


def test_more_requests_than_allowed_are_answered_503_and_the_others_go_on(tmp_path):
    stow = StowUnderTest(tmp_path)
    begun, go_on = 0, anyio.Event()
    body = multipart(part10(1))

    async def slowly():
        nonlocal begun
        yield body[:50]
        begun += 1
        if begun == 2:
            response = await stow.asend(multipart(part10(2)))
            assert (response.status_code, response.headers["retry-after"]) == (503, "30")
            go_on.set()
        await go_on.wait()
        yield body[50:]

    async def scenario():
        answers = []

        async def send():
            answers.append((await stow.asend(slowly())).status_code)

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            group.start_soon(send)
        assert (await stow.asend(multipart(part10(2)))).status_code == 200
        return answers

    assert anyio.run(scenario) == [200, 200]


@pytest.mark.parametrize("limits", [StowLimits(2, silence_s=0.2, request_s=30), StowLimits(2, 30, request_s=0.2)])
def test_a_body_that_stalls_is_given_up_and_leaves_nothing_behind(tmp_path, limits):
    stow = StowUnderTest(tmp_path, limits=limits)

    async def body():
        yield multipart(part10(1), part10(2), end=False)
        await anyio.sleep(60)

    assert stow.send(body()).status_code == 408
    assert stow.kinds() == [Stored, Ended]
    assert not stow.messages[-1].released
    assert list(stow.incoming.iterdir()) == []


def test_a_receiver_that_does_not_listen_holds_up_the_end_of_a_request_and_no_other(tmp_path):
    stow = StowUnderTest(tmp_path)
    reached, listens = threading.Event(), threading.Event()

    def tell(message):
        if isinstance(message, Ended):
            reached.set()
            assert listens.wait(20)

    stow.service._stage = replace(stow.service._stage, tell=tell)

    async def scenario():
        answers = []

        async def send():
            answers.append((await stow.asend(multipart(part10(1)))).status_code)

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            assert await anyio.to_thread.run_sync(reached.wait, 20)
            assert (await stow.asend(b"", Authorization="Bearer other")).status_code == 401
            assert answers == []
            listens.set()
        return answers

    assert anyio.run(scenario) == [200]


def test_a_broken_off_upload_leaves_only_what_was_whole(tmp_path):
    stow = StowUnderTest(tmp_path)
    events = [
        {"type": "http.request", "body": multipart(part10(1), part10(2), end=False), "more_body": True},
        {"type": "http.disconnect"},
    ]
    headers = [(b"authorization", b"Bearer secret"), (b"content-type", CONTENT_TYPE.encode())]
    scope = {"type": "http", "method": "POST", "path": "/studies", "headers": headers, "client": ("192.0.2.1", 1)}
    scope |= {"query_string": b"", "root_path": "", "raw_path": b"/studies"}

    async def receive():
        return events.pop(0)

    async def send(event):
        pass

    anyio.run(stow.app, scope, receive, send)
    assert stow.kinds() == [Stored, Ended]
    assert not stow.messages[-1].released
    assert len(stow.stored()) == 1
    assert list(stow.incoming.iterdir()) == []


def test_the_answer_is_json_that_a_parser_of_dicom_json_reads(stow):
    response = stow.send(multipart(part10(1)))
    assert json.loads(response.text)["00081190"] == {"vr": "UR"}
