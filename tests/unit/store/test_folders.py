"""Folders get their name whole, and what others began for the same name goes."""

from covnode.store.folders import publish, remove_unpublished, unpublished


def made(folder, writer, text):
    path = unpublished(folder, writer)
    path.mkdir(parents=True)
    (path / "file").write_text(text)
    return path


def test_the_last_who_may_publish_has_its_folder_there_and_nothing_of_the_others_stays(tmp_path):
    folder = tmp_path / "ser-1-r1"
    publish(made(folder, "a", "of a"), folder)
    made(folder, "c", "never ended")
    publish(made(folder, "b", "of b"), folder)
    assert (folder / "file").read_text() == "of b"
    assert [path.name for path in tmp_path.iterdir()] == ["ser-1-r1"]


def test_another_folder_is_left_alone(tmp_path):
    other = made(tmp_path / "ser-1-r10", "a", "x")
    publish(made(tmp_path / "ser-1-r1", "a", "y"), tmp_path / "ser-1-r1")
    assert other.exists()


def test_what_one_writer_left_is_removed_and_what_others_make_is_not(tmp_path):
    mine, others = made(tmp_path / "ser-1-r1", "a", "x"), made(tmp_path / "ser-2-r1", "b", "y")
    draft = tmp_path / f".{mine.name}.draft"
    draft.mkdir()
    remove_unpublished(tmp_path, "a")
    assert not mine.exists()
    assert not draft.exists()
    assert others.exists()
