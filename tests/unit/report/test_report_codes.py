"""Codes are those of the standard's own tables, or on the reviewed list, or declared as private."""

from pydicom import dcmread
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from covnode.report import codes

# Not in the tables that pydicom ships; where each was looked up stands in codes.py.
REVIEWED = {("95436008", "SCT"), ("C0034375", "UMLS"), ("ml", "UCUM"), ("{score}", "UCUM")}


def standard_codes():
    return {(value, scheme) for scheme, names in concepts.items() for entry in names.values() for value in entry}


def declared():
    return [value for value in vars(codes).values() if isinstance(value, Code)] + list(
        codes.SEVERITY_CATEGORIES.values()
    )


def test_every_public_code_is_in_the_standard_or_reviewed():
    known = standard_codes() | REVIEWED
    unknown = [
        code
        for code in declared()
        if code.scheme_designator != codes.PRIVATE_SCHEME and (code.value, code.scheme_designator) not in known
    ]
    assert not unknown
    assert not REVIEWED & standard_codes(), "no longer an exception"


def test_codes_are_declared_once_and_fit_their_attributes():
    values = [(code.value, code.scheme_designator) for code in declared()]
    assert len(set(values)) == len(values)
    assert all(len(code.value) <= 16 and len(code.meaning) <= 64 for code in declared())
    assert len(codes.PRIVATE_SCHEME) <= 16


def test_every_object_that_uses_a_private_code_declares_the_scheme(write):
    for item in write()[2].values():
        (scheme,) = dcmread(item.path).CodingSchemeIdentificationSequence
        assert scheme.CodingSchemeDesignator == "99COVNODE"


def test_every_code_that_an_object_holds_is_a_declared_or_a_standard_one(write):
    known = standard_codes() | {(code.value, code.scheme_designator) for code in declared()} | {("en-US", "RFC5646")}
    for item in write()[2].values():
        for element in dcmread(item.path).iterall():
            if element.keyword.endswith("CodeSequence"):
                for code in element.value:
                    if "CodeValue" in code:
                        assert (code.CodeValue, code.CodingSchemeDesignator) in known
