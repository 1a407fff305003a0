import os

from covnode.receive.drafts import Drafts, clear_incoming


def test_a_draft_that_was_prepared_is_taken_or_given_back(tmp_path):
    drafts = Drafts(tmp_path)
    drafts.prepare()
    (prepared,) = tmp_path.iterdir()
    path, descriptor = drafts.take()
    assert path == str(prepared)
    assert [one.name for one in tmp_path.iterdir()] == [prepared.name]
    prepared.unlink()
    drafts.prepare()
    drafts.tidy()
    assert list(tmp_path.iterdir()) == []
    with os.fdopen(descriptor, "rb") as file:  # what was taken is not closed with the others
        assert file.read() == b""


def test_only_the_files_of_a_dead_process_are_cleared(tmp_path):
    for name in ("12-1", "12-2", "123-1"):
        (tmp_path / name).write_bytes(b"x")
    clear_incoming(tmp_path, 12)
    assert [path.name for path in tmp_path.iterdir()] == ["123-1"]
    clear_incoming(tmp_path)
    assert list(tmp_path.iterdir()) == []
