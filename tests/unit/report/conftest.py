import pytest
from ct_series import make_result, make_series

from covnode.report.writer import write_objects


@pytest.fixture(scope="session")
def write(tmp_path_factory):
    """Make a series in a layout, write its objects, and give both; the plain ones are made once and never changed."""
    plain = {}

    def make(layout="axial", *, result=None, **options):
        if not result and not options and layout in plain:
            return plain[layout]
        folder = tmp_path_factory.mktemp(layout)
        (folder / "ct").mkdir()
        made = make_series(folder / "ct", layout, **options)
        record = make_result(made, **(result or {}))
        objects = write_objects(made.volume, made.lungs, made.lesions, record, folder)
        written = made, record, {item.kind: item for item in objects}
        if not result and not options:
            plain[layout] = written
        return written

    return make
