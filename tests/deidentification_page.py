"""Makes docs/deidentification.md from the data that the engine works by: ``python tests/deidentification_page.py``.

A gate holds the page to it.
"""

import csv
from importlib.resources import files
from pathlib import Path

from covnode.deidentify.elements import vr_of
from covnode.deidentify.profile import METHOD_CODES, Action, Rule, rules
from covnode.deidentify.values import dummy

PAGE = Path(__file__).parents[1] / "docs" / "deidentification.md"

_PROFILES = (
    ("Basic Profile", True),
    ("Clean Pixel Data", None),
    ("Clean Recognizable Visual Features", False),
    ("Clean Graphics", False),
    ("Clean Structured Content", False),
    ("Clean Descriptors", False),
    ("Retain Longitudinal Temporal Information with Full Dates", False),
    ("Retain Longitudinal Temporal Information with Modified Dates", True),
    ("Retain Patient Characteristics", False),
    ("Retain Device Identity", False),
    ("Retain Institution Identity", False),
    ("Retain UIDs", False),
    ("Retain Safe Private", False),
)
_ANSWERS = {True: "ALL | Y | Y | N", False: "- | N | N | N", None: "ALL | where text is masked | N | Y"}
_OF_THEIR_OWN = {
    "BurnedInAnnotation": "one of 2 terms, else empty; NO where text was masked",
    "PatientID": "`CN-` and 26 letters and digits: a keyed digest of issuer and id",
    "PatientName": "the pseudonymous Patient ID as the family name",
    "SOPInstanceUID": "keyed digest of the UID; of UID and content where several contents share one",
    "FrameOfReferenceUID": "where the original names none, one of the series' own",
    "ContrastBolusAgent": "empty where there was none, else a dummy",
    "ImageType": "a vendor's value becomes OTHER, in its place",
}
_HEAD = """\
# De-identification

What becomes of each attribute between the spool and the worker, in the form of a DICOM Conformance Statement (PS3.2
Annex N). Made by `python tests/deidentification_page.py` from `covnode/deidentify/profile.csv` (PS3.15 2026c Table
E.1-1) and `kept.csv`; a test holds this page to them.

- Every data set is written anew, element by element, at every depth: an attribute that no rule names is removed, and so
  are private elements, groups 50xx and 60xx, the preamble, private file meta information and whatever follows the Pixel
  Data. Attributes of later editions of the standard are removed until a rule names them; that cannot be configured.
- Pixel Data are copied as they came, compressed ones too. A series is held back unseen for Burned In Annotation YES,
  Secondary Capture classes, an Image Type that names a screen, pictures in colour, an overlay in unused bits. Of all
  others a detector looks for text in each frame that is not ORIGINAL, PRIMARY and AXIAL (or VOLUME), has a Conversion
  Type, recognizable features, 8 bits, MONOCHROME1 or another modality than CT; and in three frames of what is none of
  these. What looks like text, and what cannot be decoded, holds the series back.
  [Record 14](adr/0014-text-in-pixels.md) has the figures: not all text is found.
- With `deidentify.burned_in_text = "mask"` text that is found is overwritten in all frames, such a copy is not
  compressed, says 113101 (Clean Pixel Data Option) and Burned In Annotation NO, and is looked at again; every other
  pixel keeps its bits. Screens, captures and colour are held back all the same.
- Comments and application data of JPEG's family are searched for the original's values; one found holds the series
  back.
- UIDs that PS3.6 does not register become `2.25.` and 128 bits of a keyed digest: the same for the same UID in every
  study, at every time and on every node with the same key, so that references stay whole.
- Dates move by a number of days that depends on patient and key (1 to 3650 days back): intervals stay. Times stay.
- Set anew: Patient Identity Removed (0012,0062) YES, De-identification Method (0012,0063) and its codes (0012,0064),
  Longitudinal Temporal Information Modified (0028,0303) MODIFIED.
- A check of its own, which reads original and copy with another reader, then searches the copy for every identifying
  value of the original. What it finds, and what cannot be read, holds the series back: nothing of it is written.
- Encrypted Attributes Sequence (0400,0500) is not used. What a result needs to get its identity back lies sealed in the
  vault (AES-GCM), from where the sender takes it; see [record 5](adr/0005-identity-restored-by-the-sender.md).

"""


def page() -> str:
    """Return the whole page."""
    return _HEAD + _profiles() + _attributes()


def _profiles() -> str:
    lines = ["## Attribute Confidentiality Profiles (N.8.4.4)", ""]
    lines += ["| Profile | Option | AE | De-identifier | Re-identifier | Configurable |", "|---|---|---|---|---|---|"]
    for option, is_applied in _PROFILES:
        answers = _ANSWERS[is_applied]
        lines.append(f"| Basic Application Level Confidentiality | {option} | {answers} |")
    codes = ", ".join(f'({value}, DCM, "{meaning}")' for value, meaning in METHOD_CODES)
    return "\n".join([*lines, "", f"De-identification Method Code Sequence (0012,0064): {codes}.", "", ""])


def _attributes() -> str:
    lines = ["## De-identified elements and actions (N.11.2.6)", ""]
    lines += ["D dummy, Z empty, X removed, K kept, C dates moved, U replaced. None is encrypted.", ""]
    lines += ["| Attribute | Tag | Action | Encrypted | Comments |", "|---|---|---|---|---|"]
    named = {row["tag"]: row["keyword"] for name in ("kept.csv", "profile.csv") for row in _rows(name)}
    for tag, keyword in sorted(named.items()):
        rule = Rule(Action.REMOVE) if "X" in tag else rules()[int(tag, 16)]
        comment = _OF_THEIR_OWN.get(keyword, "" if "X" in tag else _comment(rule, vr_of(int(tag, 16))))
        lines.append(f"| {keyword} | ({tag[:4]},{tag[4:]}) | {rule.action} | N | {comment} |".replace("  ", " "))
    return "\n".join([*lines, "| every other, standard or private | | X | N | |", ""])


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((files("covnode.deidentify") / name).read_text().splitlines()))


def _comment(rule: Rule, vr: str) -> str:
    if rule.action is Action.DUMMY:
        value = dummy(vr)
        return f"`{value.decode()}`" if value.isascii() and value.decode().isprintable() else "zeros"
    if rule.action is not Action.KEEP or vr == "SQ":
        return "registered codes only, with their registered meaning" if rule.codes else ""
    if rule.terms:
        return f"one of {len(rule.terms)} terms, else empty"
    if rule.text:
        return "plain text of at most 64 characters, else empty"
    if rule.digits:
        return "digits, else empty"
    return "numbers only" if vr in {"DS", "IS"} else ""


if __name__ == "__main__":
    PAGE.write_text(page())
