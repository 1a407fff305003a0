"""Series to push: small phantoms, with whatever identity and layout a test needs."""

import pytest

from covnode.learn.phantom import make_phantom
from covnode.learn.phantom_dicom import write_phantom
from covnode.learn.phantom_records import PhantomPreset


@pytest.fixture(scope="session")
def small_phantom():
    return make_phantom(PhantomPreset.COVID_SEVERE, slices=40, seed=3, size=256)


@pytest.fixture
def write_series(small_phantom, tmp_path):
    """Return a function that writes the small phantom and gives its DICOM files."""

    def write(name="ct", *, layout=None, phantom=None, **attributes):
        folder = tmp_path / name
        write_phantom(phantom or small_phantom, folder, layout=layout, attributes=attributes)
        return folder

    return write
