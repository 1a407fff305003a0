"""The data sets that pydicom ships, under each option: none more is refused, and only what it names survives."""

import csv
import hashlib

import pytest
import test_pydicom_files
from planted import KEYS
from test_pydicom_files import REFUSED, SHIPPED, before_pixels, shipped, survivors

from covnode.deidentify.engine import deidentify_series
from covnode.deidentify.options import METHODS, Option
from covnode.deidentify.profile import build_profile, read_table
from covnode.deidentify.registered_codes import CODE_ELEMENTS
from covnode.errors import DeidentificationRefused
from covnode.records.series import ReceivedInstance, ReceivedSeries

SPECIFIC_CHARACTER_SET, MEDIA_STORAGE_SOP_INSTANCE_UID = 0x00080005, 0x00020003
# what a clean content item is made of, and a code with its registered meaning
CONTENT = {int(row["tag"], 16) for row in read_table("content.csv")} | set(CODE_ELEMENTS)
# UID (0040,A124) says what stays at Referenced SOP Instance UID
SAID_TWICE = {"test_files/test-SR.dcm": {"0040A124"}}
ALL = frozenset(Option) - {Option.SAFE_PRIVATE, Option.MODIFIED_DATES}
CHOICES = [frozenset({option}) for option in sorted(ALL)] + [ALL, frozenset()]


@pytest.mark.parametrize("options", CHOICES, ids=lambda options: "+".join(sorted(options)) or "none")
def test_only_what_the_options_name_survives(tmp_path, monkeypatch, options):
    profile = build_profile(options)
    named = {tag for tag, rule in profile.rules.items() if rule.is_retained or rule.otherwise is not None}
    kept = {tag for tag in (SPECIFIC_CHARACTER_SET,) if tag in profile.rules}
    kept |= {MEDIA_STORAGE_SOP_INSTANCE_UID} if Option.UIDS in options else set()
    kept |= set(CONTENT) if Option.STRUCTURED_CONTENT in options else set()
    monkeypatch.setattr(test_pydicom_files, "ACTIONS", test_pydicom_files.ACTIONS | dict.fromkeys(named | kept, "K"))
    stated = {word.lower() for code in METHODS.values() for text in code for word in text.split()}
    stated |= {"unmodified", "removed"}
    monkeypatch.setattr(test_pydicom_files, "OURS", test_pydicom_files.OURS | stated)
    refused, leaks, stays = {}, {}, 0
    for number, path in enumerate(shipped()):
        name = path.relative_to(SHIPPED).as_posix()
        instance = ReceivedInstance(path, hashlib.sha256(path.read_bytes()).hexdigest())
        try:
            series, _ = deidentify_series(ReceivedSeries("s", 1, (instance,)), tmp_path / str(number), KEYS, profile)
        except DeidentificationRefused as refusal:
            refused[name] = refusal.code
            continue
        copy, header = before_pixels(series.files[0])
        found = survivors(before_pixels(path)[0], copy, header)
        leaks |= {name: found} if found else {}
        stays += sum(int(element.tag) in named and not element.is_empty for element in copy.iterall())
    assert leaks == (SAID_TWICE if options == {Option.UIDS} else {})
    assert bool(stays) == bool(named), "what an option names must be seen to stay"
    with REFUSED.open(encoding="utf-8", newline="") as file:
        assert refused == {row["file"]: row["code"] for row in csv.DictReader(file)}
