"""One series of a study is analysed, the best; the others say why not, and a better one that comes later counts."""

import json

import pytest
from processes import covnode, received, wait_until
from pydicom import dcmread

from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_records import PhantomPreset
from covnode.store.tables import SeriesRow, StudyRow

pytestmark = pytest.mark.slow

STUDY = {
    "StudyInstanceUID": "2.25.1001",
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-0042",
    "FrameOfReferenceUID": "2.25.1002",
}


@pytest.fixture
def choosing_node(idle_node, pacs):
    """A node that analyses the best series of a study that was quiet for three seconds."""
    idle_node.init("--pacs", pacs.address)
    for key, value in (("choice.analyse", "best"), ("choice.study_idle_s", "3")):
        assert covnode("config", "set", key, value, "--home", str(idle_node.root)).returncode == 0
    idle_node.start()
    return idle_node


@pytest.fixture
def write(write_series):
    """Return a function that writes one series of the study below a folder of its own."""

    def write(name, uid, phantom, **attributes):
        return write_series(name, phantom=phantom, SeriesInstanceUID=uid, **STUDY, **attributes)

    return write


@pytest.fixture(scope="module")
def thin():
    return make_phantom(PhantomPreset.COVID_SEVERE, slices=40, seed=3, size=256)


@pytest.fixture(scope="module")
def thick():
    return make_phantom(PhantomPreset.COVID_SEVERE, slices=24, seed=3, size=256)


def states(node):
    return {row["series_id"]: row["state"] for row in node.series()}


def explained(node, series_id):
    done = covnode("series", "explain", series_id, "--json", "--home", str(node.root))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def choice(node):
    with node.transaction() as session:
        (study,) = session.query(StudyRow).all()
        return study.chosen_series_id, study.choice_revision


def test_the_best_series_is_analysed_and_a_better_one_that_comes_later_too(choosing_node, write, pacs, thin, thick):
    node, second, fourth = choosing_node, "2.25.2002", "2.25.2004"
    write("study/thick", "2.25.2001", thick, SliceThickness=8)
    write("study/thin", second, thin, SliceThickness=3, ConvolutionKernel="B60f")
    reformat = write(
        "study/reformat",
        "2.25.2003",
        thick,
        ImageType=["DERIVED", "SECONDARY", "MPR"],
        SeriesDescription="Doe^Jane MPR cor",
    )
    node.push(reformat.parent)
    wait_until(lambda: len(node.series()) == 3)
    wait_until(lambda: "not_chosen" in states(node).values())
    assert sorted(states(node).values()).count("not_chosen") == 2
    chosen, revision = choice(node)
    assert revision == 1
    (seg,) = [ds for ds in received(pacs, 2) if ds.Modality == "SEG"]
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == second
    assert [job["of"] for job in node.jobs("analysis")] == [chosen]
    left = {row["series_id"]: row for row in node.series() if row["state"] == "not_chosen"}
    assert len(left) == 2
    sheets = {series_id: explained(node, series_id) for series_id in (*left, chosen)}
    reasons = {record["reason_code"]: record["reason"] for record in sheets.values()}
    assert f"{chosen} of the same study is analysed" in reasons["not_chosen"]
    assert "reformat" in reasons["excluded_by_rule"]
    best = sheets[chosen]["sheet"]["total"]
    assert all(best > sheets[key]["sheet"]["total"] for key in left if not sheets[key]["sheet"]["excluded"])
    assert "Doe" not in json.dumps(sheets)
    assert "score: " in covnode("series", "explain", chosen, "--home", str(node.root)).stdout

    node.push(write("better", fourth, thin, SliceThickness=1, ConvolutionKernel="B31f"))
    wait_until(lambda: choice(node)[1] == 2)
    later = choice(node)[0]
    assert later not in (chosen, *left)
    (seg,) = [ds for ds in received(pacs, 2) if ds.Modality == "SEG"]
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == fourth
    assert {job["of"] for job in node.jobs("analysis")} == {chosen, later}
    assert states(node)[chosen] == "analysed"

    replayed = covnode("rules", "replay", _rules_in_force(node), "--json", "--home", str(node.root))
    assert replayed.returncode == 0, replayed.stderr
    (study,) = json.loads(replayed.stdout)
    assert (study["chosen_now"], study["would_choose"], study["differs"]) == ([later], [later], False)
    assert "Doe" not in node.log.read_text()


def test_a_person_has_a_passed_over_series_analysed(choosing_node, write, pacs, thick):
    node, uid = choosing_node, "2.25.2001"
    node.push(write("reformat", uid, thick, ImageType=["DERIVED", "SECONDARY", "MPR"]))
    wait_until(lambda: set(states(node).values()) == {"not_chosen"})
    (row,) = node.series()
    assert "no series of the study passes the rules" in row["reason"]
    assert covnode("series", "choose", row["series_id"], "--home", str(node.root)).returncode == 0
    objects = received(pacs, 2)
    assert {ds.Modality for ds in objects} == {"SEG", "SR"}
    assert next(ds for ds in objects if ds.Modality == "SEG").ReferencedSeriesSequence[0].SeriesInstanceUID == uid


def test_a_stat_study_does_not_wait(idle_node, pacs, write_series, thick):
    idle_node.init("--pacs", pacs.address)
    for key, value in (("choice.analyse", "best"), ("choice.study_idle_s", "3600")):
        assert covnode("config", "set", key, value, "--home", str(idle_node.root)).returncode == 0
    idle_node.start()
    folder = write_series(phantom=thick, **STUDY)
    for path in folder.glob("*.dcm"):
        dataset = dcmread(path)
        dataset.add_new("RequestedProcedurePriority", "SH", "STAT")
        dataset.save_as(path)
    idle_node.push(folder)
    assert {ds.Modality for ds in received(pacs, 2)} == {"SEG", "SR"}
    with idle_node.transaction() as session:
        (row,) = session.query(SeriesRow).all()
        assert session.get_one(StudyRow, row.study_id).stat


def _rules_in_force(node):
    path = node.root / "shown.toml"
    path.write_text(covnode("rules", "show", "--home", str(node.root)).stdout)
    return str(path)
