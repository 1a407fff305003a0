"""The N-EVENT-REPORT's content, PS3.4 Table J.3-2."""

from covnode.receive.commitment_report import Reference, Report, event_of, read_report, write_report

CT = "1.2.840.10008.5.1.4.1.1.2"
GOOD, GONE, OTHER = (Reference(CT, f"1.2.3.{number}") for number in range(3))


def referenced(items):
    return [(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in items]


def test_all_stored_is_event_type_one_without_failures():
    event_type, information = event_of(Report("1.2.99", (GOOD, OTHER), ()))
    assert event_type == 1
    assert information.TransactionUID == "1.2.99"
    assert referenced(information.ReferencedSOPSequence) == [(CT, "1.2.3.0"), (CT, "1.2.3.2")]
    assert "FailedSOPSequence" not in information


def test_failures_are_event_type_two_with_their_reasons():
    event_type, information = event_of(Report("1.2.99", (GOOD,), ((GONE, 0x0112), (OTHER, 0x0119))))
    assert event_type == 2
    assert referenced(information.ReferencedSOPSequence) == [(CT, "1.2.3.0")]
    assert referenced(information.FailedSOPSequence) == [(CT, "1.2.3.1"), (CT, "1.2.3.2")]
    assert [item.FailureReason for item in information.FailedSOPSequence] == [0x0112, 0x0119]


def test_nothing_stored_leaves_no_empty_sequence():
    _event_type, information = event_of(Report("1.2.99", (), ((GONE, 0x0112),)))
    assert "ReferencedSOPSequence" not in information


def test_a_report_comes_back_from_its_file(tmp_path):
    report = Report("1.2.99", (GOOD,), ((GONE, 0x0112), (OTHER, 0x0119)))
    write_report(tmp_path / "com-0.report", report)
    assert read_report(tmp_path / "com-0.report") == report
    assert [path.name for path in tmp_path.iterdir()] == ["com-0.report"]
