"""Makes docs/deidentification.md from the data that the engine works by: ``python tests/deidentification_page.py``.

A gate holds the page to it.
"""

import csv
from importlib.resources import files
from pathlib import Path

from covnode.deidentify.elements import vr_of
from covnode.deidentify.options import METHODS, Option
from covnode.deidentify.profile import NODE_DATES, Action, Rule, build_profile, node_profile
from covnode.deidentify.values import dummy
from covnode.wiring.deidentify_profile import OF_THE_NODE

PAGE = Path(__file__).parents[1] / "docs" / "deidentification.md"

_PROFILES = {
    "Basic Profile": None,
    "Clean Pixel Data": None,
    "Clean Recognizable Visual Features": None,
    "Clean Graphics": None,
    "Clean Structured Content": Option.STRUCTURED_CONTENT,
    "Clean Descriptors": Option.DESCRIPTORS,
    "Retain Longitudinal Temporal Information with Full Dates": Option.FULL_DATES,
    "Retain Longitudinal Temporal Information with Modified Dates": Option.MODIFIED_DATES,
    "Retain Patient Characteristics": Option.PATIENT_CHARACTERISTICS,
    "Retain Device Identity": Option.DEVICE_IDENTITY,
    "Retain Institution Identity": Option.INSTITUTION_IDENTITY,
    "Retain UIDs": Option.UIDS,
    "Retain Safe Private": Option.SAFE_PRIVATE,
}
_BASIC = "| ALL | Y | Y | N |"
_OF_ALL = "| ALL | Y | Y | Y |"
_OF_EXPORTS = "| `covnode deidentify` | Y | N | Y |"
_OF_NONE = "| - | N | N | N |"
_WHERE_MASKED = "| ALL | where text is masked | N | Y |"
_OF_THEIR_OWN = {
    "BurnedInAnnotation": "one of 2 terms, else empty; NO where text was masked",
    "PatientID": "`CN-` and 26 letters and digits: a keyed digest of issuer and id",
    "PatientName": "the pseudonymous Patient ID as the family name",
    "SOPInstanceUID": "keyed digest of the UID; of UID and content where several contents share one",
    "FrameOfReferenceUID": "where the original names none, one of the series' own",
    "ContrastBolusAgent": "empty where there was none, else a dummy",
    "PrivateAttributes": "retain_safe_private: those of the site's list stay, with their creators",
    "ImageType": "a vendor's value becomes OTHER, in its place",
}
_HEAD = """\
# De-identification

What becomes of each attribute between the spool and the worker, in the form of a DICOM Conformance Statement (PS3.2
Annex N). Made by `python tests/deidentification_page.py` from `covnode/deidentify/profile.csv` (PS3.15 2026c Table
E.1-1), `kept.csv` and `content.csv`; a test holds this page to them.

- Every data set is written anew, element by element, at every depth: an attribute that no rule names is removed, and so
  are private elements that no list names, groups 50xx and 60xx, the preamble, private file meta information and
  whatever follows the Pixel Data. Attributes of later editions of the standard are removed until a rule names them;
  that cannot be configured.
- Pixel Data are copied as they came, compressed ones too. A series is held back unseen for Burned In Annotation YES,
  Secondary Capture classes, an Image Type that names a screen, pictures in colour, an overlay in unused bits. Of all
  others a detector looks for text in each frame that is not ORIGINAL, PRIMARY and AXIAL (or VOLUME), has a Conversion
  Type, recognizable features, 8 bits, MONOCHROME1 or another modality than CT; and in the middle frame of what is none
  of these. What looks like text, and what cannot be decoded, holds the series back.
  [Record 14](adr/0014-text-in-pixels.md) has the figures: not all text is found.
- With `deidentify.burned_in_text = "mask"` text that is found is overwritten in all frames, such a copy is not
  compressed, says 113101 (Clean Pixel Data Option) and Burned In Annotation NO, and is looked at again; every other
  pixel keeps its bits. Screens, captures and colour are held back all the same.
- Comments and application data of JPEG's family are searched for the original's values; one found holds the series
  back.
- UIDs that PS3.6 does not register become `2.25.` and 128 bits of a keyed digest: the same for the same UID in every
  study of its patient, at every time and on every node with the same keys, so that references stay whole. A patient
  keeps the generation of keys that was the newest at the first series; see [record 13](adr/0013-keys-vault-audit.md).
- Dates move by a number of days that depends on patient and key (1 to 3650 days back): intervals stay. Times stay. An
  export may keep them in full, or remove them (`--dates`).
- Set anew: Patient Identity Removed (0012,0062) YES, De-identification Method (0012,0063) and its codes (0012,0064),
  Longitudinal Temporal Information Modified (0028,0303) MODIFIED; UNMODIFIED or REMOVED as dates are.
- A check of its own, which reads original and copy with another reader, then searches the copy for every identifying
  value of the original. What it finds, and what cannot be read, holds the series back: nothing of it is written.
- Encrypted Attributes Sequence (0400,0500) is not used. What a result needs to get its identity back lies sealed in the
  vault (AES-GCM), from where the sender takes it; see [record 5](adr/0005-identity-restored-by-the-sender.md).

"""


_OPTIONS = """\
`[deidentify]` in `covnode.toml` chooses, for a folder `covnode deidentify --option NAME --dates WHAT --safe-private
FILE`. The copies that the worker reads take Clean Structured Content, Clean Descriptors and Retain Patient
Characteristics; with another one the receiver refuses to start ([record
12](adr/0012-options-of-the-de-identification.md)).

- **Retain UIDs, Device Identity, Institution Identity, Patient Characteristics, Full Dates** (K below): the value
  stays as sent if it is one of its VR, texts in their character set, codes of a sequence with their sent meaning;
  else it is emptied. The check lets it stand there and nowhere else, and even there holds the series back for a name
  or an id of a person, or the date of birth. So an institution that is called after the patient's physician is a
  refusal.
- **Clean Descriptors**, and what Patient Characteristics and Device Identity clean (C): a text stays whole if it is
  clean, else it goes as the Basic Profile says. Clean is plain ASCII, all of its words in `descriptor_words.txt` and
  none of them in a name of the original, beside names of kernels and at most one number, under 100. Codes that PS3.16
  names stay, with the registered meaning.
- **Clean Structured Content**: of content items, those of type CODE, NUM or NUMERIC stay, and containers of such,
  whose names, values and units are codes that PS3.16 names; texts, names, dates, references and all others go.
  Figures and codes for the age and the sex of the observed stay under Retain Patient Characteristics alone (Table
  E.3.4-1).
- **Retain Safe Private**: a CSV of the site's, `creator,tag,vr` with tags as `"0019,xx23"`. Creator, group, element
  and VR must be exact (in implicit VR the list's VR is taken); texts are plain ASCII, numbers figures, dates go as
  the others do, UIDs are replaced, sequences cleaned. VRs that may hold anything (OB, OW, UN, PN, UT, ...) cannot be
  on the list. What a file itself says of its private blocks (0008,0300) is not believed.

Not offered: **Clean Graphics**, since an overlay is a picture and what curves and annotations draw may be letters, so
that nothing short of a person could show that they are clean: they are always removed; **Clean Recognizable Visual
Features**, which would change the pixels that are to be analysed; **Clean Pixel Data**: a series whose pixels may
show text is held back.

"""


def page() -> str:
    """Return the whole page."""
    return _HEAD + _profiles() + _OPTIONS + _attributes()


def _profiles() -> str:
    lines = ["## Attribute Confidentiality Profiles (N.8.4.4)", ""]
    lines += ["| Profile | Option | AE | De-identifier | Re-identifier | Configurable |", "|---|---|---|---|---|---|"]
    for name, option in _PROFILES.items():
        answers = _OF_NONE if option is None else _OF_ALL if option in OF_THE_NODE else _OF_EXPORTS
        answers = {"Basic Profile": _BASIC, "Clean Pixel Data": _WHERE_MASKED}.get(name, answers)
        lines.append(f"| Basic Application Level Confidentiality | {name} {answers}")
    codes = ", ".join(f'({value}, DCM, "{meaning}")' for value, meaning in node_profile().method_codes)
    others = ", ".join(
        f'({value}, DCM, "{meaning}")' for option, (value, meaning) in METHODS.items() if option is not NODE_DATES
    )
    lines += ["", f"De-identification Method Code Sequence (0012,0064): {codes}.", f"With their options: {others}."]
    return "\n".join([*lines, "", ""])


def _attributes() -> str:
    lines = ["## De-identified elements and actions (N.11.2.6)", ""]
    lines += ["D dummy, Z empty, X removed, K kept, C dates moved or else cleaned, U replaced. None is encrypted.", ""]
    lines += ["| Attribute | Tag | Action | By option | Encrypted | Comments |", "|---|---|---|---|---|---|"]
    named = {row["tag"]: row["keyword"] for name in ("kept.csv", "profile.csv") for row in _rows(name)}
    profile, by_option = node_profile(), _by_option()
    for tag, keyword in sorted(named.items()):
        rule = Rule(Action.REMOVE) if "X" in tag else profile.rules[int(tag, 16)]
        comment = _OF_THEIR_OWN.get(keyword, "" if "X" in tag else _comment(rule, vr_of(int(tag, 16))))
        options = by_option.get(int(tag, 16), "") if "X" not in tag else ""
        cells = [keyword, f"({tag[:4]},{tag[4:]})", str(rule.action), options, "N", comment]
        lines.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join([*lines, "| every other, standard or private | | X | | N | |", ""])


def _by_option() -> dict[int, str]:
    """Actions that differ from the node's, by tag, with the options that make them so; of dates also without any."""
    usual, found = node_profile().rules, dict[int, list[str]]()
    without = build_profile(())
    for option in Option:
        if option in {NODE_DATES, Option.SAFE_PRIVATE}:
            continue
        for tag, rule in build_profile({option}).rules.items():
            if rule.option is option and tag in usual:
                found.setdefault(tag, []).append(f"{rule.action} {option}")
    for tag, rule in without.rules.items():
        if usual[tag] != rule:
            found.setdefault(tag, []).append(f"{rule.action} dates removed")
    return {tag: ", ".join(actions) for tag, actions in found.items()}


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
