import os

import pytest

from covnode.errors import ConfigurationError
from covnode.receive.stow_tokens import TokenFile

ONE, TWO = "a" * 16, "b" * 32


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# of the PACS\nPACS_A:{ONE}\n\n {TWO} \n")
    return path


def rewrite(path, text):
    path.write_text(text)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    ("header", "source"),
    [
        (f"Bearer {ONE}", "PACS_A"),
        (f"bearer  {ONE}", "PACS_A"),
        (f"Bearer {TWO}", "STOW"),
        (f"Basic {ONE}", None),
        (f"Bearer PACS_A:{ONE}", None),
        (f"Bearer {ONE}x", None),
        ("Bearer", None),
        ("Bearer \udcff", None),
        ("", None),
        (None, None),
    ],
)
def test_a_token_says_who_sends(path, header, source):
    assert TokenFile(path).source_of(header) == source


def test_a_changed_file_is_read_again(path):
    tokens = TokenFile(path)
    rewrite(path, f"CT:{TWO}\n")
    assert tokens.source_of(f"Bearer {TWO}") == "CT"
    assert tokens.source_of(f"Bearer {ONE}") is None


@pytest.mark.parametrize("text", ["", "short", None])
def test_a_file_that_breaks_lets_nobody_in_until_it_is_whole_again(path, text):
    tokens = TokenFile(path)
    rewrite(path, text) if text is not None else path.unlink()
    assert tokens.source_of(f"Bearer {ONE}") is None
    path.write_text(f"CT:{ONE}\n")
    assert tokens.source_of(f"Bearer {ONE}") == "CT"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "cannot be read"),
        ("# nothing\n", "holds no token"),
        ("PACS:short", "16 characters"),
        (f"THIS_IS_NO_AE_TITLE:{ONE}", "AE title"),
        (b"\xff\xff", "UTF-8"),
    ],
)
def test_a_bad_file_is_a_configuration_error_that_quotes_no_token(tmp_path, text, word):
    path = tmp_path / "tokens"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError, match="stow.token_file.*" + word) as error:
        TokenFile(path)
    assert ONE not in str(error.value)


def test_no_token_lies_in_memory(path):
    assert ONE not in repr(TokenFile(path)._tokens)
