"""A question to an archive names a UID and nothing that an archive may take for more."""

import pytest

from covnode.dicom.association import Destination
from covnode.errors import ConfigurationError
from covnode.receive.query import series_of_study

NOBODY = Destination("nobody", "NOBODY", "127.0.0.1", 1, 1.0)


@pytest.mark.parametrize("text", ["....", "1..2", ".1", "1.2*", "", "1." * 33])
def test_what_is_no_uid_is_not_asked_for(text):
    with pytest.raises(ConfigurationError, match="no UID"):
        series_of_study("US", NOBODY, text)
    if text:
        with pytest.raises(ConfigurationError, match="no UID"):
            series_of_study("US", NOBODY, "1.2.3", text)
