"""Collects the values of originals that must not stand in a de-identified copy.

Comes from the leak check, which reads every original with pydicom (not with the engine's own reader); goes back as
sets of values. Kept in memory only.
"""

import re
from dataclasses import dataclass, field
from functools import cache

from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from covnode.deidentify.profile import IMPLEMENTATION_CLASS_UID, Action, Profile
from covnode.deidentify.remembered import Remembered, is_short
from covnode.deidentify.values import is_registered
from covnode.dicom.reading import MALFORMED

# Whole values that name a person, a stay or an order; names of persons and institutions are split into words as well.
_IDENTIFIERS = """
    PatientID OtherPatientIDs IssuerOfPatientID AccessionNumber AdmissionID StudyID PatientBirthDate
    MilitaryRank BranchOfService PatientTelephoneNumbers
    PatientTelecomInformation RequestedProcedureID ScheduledProcedureStepID PerformedProcedureStepID
    PlacerOrderNumberImagingServiceRequest FillerOrderNumberImagingServiceRequest ServiceEpisodeID
    ClinicalTrialSubjectID ClinicalTrialSubjectReadingID
    ReferringPhysicianTelephoneNumbers PersonTelephoneNumbers PersonTelecomInformation
"""
_NAMES = """
    PatientAddress ReferringPhysicianAddress PersonAddress InstitutionName InstitutionAddress
    InstitutionalDepartmentName ResponsibleOrganization RequestingService CountryOfResidence RegionOfResidence
"""
IDENTIFIERS = frozenset(_IDENTIFIERS.split())
NAMES = frozenset(_NAMES.split())
# Of these, what names a place or a unit, not a person: it may stand in an attribute that an option retains.
_OF_PLACES = frozenset({"IssuerOfPatientID", "MilitaryRank", "BranchOfService"}) | (
    NAMES - {"PatientAddress", "ReferringPhysicianAddress", "PersonAddress"}
)
_TEXT_VRS = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
# Numbers, times and blobs: nothing is learnt from them, unless they are identifiers.
_SILENT_VRS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "TM", "UL", "US", "OB", "OD", "OF", "OL", "OV", "OW"})
_WORD = re.compile(r"[^\W_]+")
SHORTEST_WORD, SHORTEST_FRAGMENT = 3, 5


@dataclass
class Identifying:
    """What must not be found again.

    Attributes
    ----------
    words
        Words of names, at least `SHORTEST_WORD` letters or digits: match whole words, from `SHORTEST_FRAGMENT` on any
        part of a text.
    phrases
        Whole identifying values of at least `SHORTEST_WORD` characters: match whole values, from `SHORTEST_FRAGMENT`
        on any part of a text.
    own_words, own_phrases
        Those of persons, their ids and addresses among them: what must not stand even in an attribute that an option
        retains.
    descriptions
        Whole texts that the profile removes otherwise: match as phrases do, but not in texts about the device, since
        a series may be described by its kernel, and a station be named after its model.
    uids
        Every UID of the originals that PS3.6 does not register.
    study_dates, birth_dates
        As the originals state them.
    raw, own_raw
        Bytes, as the original encodes them, of identifying texts that are not ASCII; of persons alone.
    """

    profile: Profile
    words: set[str] = field(default_factory=set)
    phrases: set[str] = field(default_factory=set)
    own_words: set[str] = field(default_factory=set)
    own_phrases: set[str] = field(default_factory=set)
    descriptions: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)
    study_dates: set[str] = field(default_factory=set)
    birth_dates: set[str] = field(default_factory=set)
    raw: set[bytes] = field(default_factory=set)
    own_raw: set[bytes] = field(default_factory=set)
    _seen: Remembered[tuple[object, ...], None] = field(default_factory=Remembered)

    def learn(self, dataset: Dataset) -> None:
        """Take over the values of a data set, at every depth, private sequences included."""
        context = (str(dataset.original_character_set), dataset.original_encoding)
        for tag, raw in list(dataset.items()):  # as read, not yet converted
            if isinstance(raw, RawDataElement):
                seen = (int(tag), raw.VR, raw.value, context)
                if seen in self._seen:  # most elements are the same in every instance
                    continue
                if is_short(len(raw.value or b"")) and not _depends_on_others(raw):
                    self._seen[seen] = None
                if isinstance(raw.value, bytes) and not raw.value.isascii():
                    self._learn_raw(raw)
                if raw.VR in _SILENT_VRS and int(tag) not in _tags_of_identifiers():
                    continue
            try:
                element = dataset[tag]
            except (*MALFORMED, OSError):  # pydicom's own: this is read from memory
                continue  # no text: a number or a sequence that the engine does not copy either
            if element.VR == "SQ":
                for item in element.value or ():
                    self.learn(item)
            else:
                self._learn_value(element)

    def _learn_raw(self, element: RawDataElement) -> None:
        if element.VR == "PN" or _is_identifier(element.tag):
            pieces = re.split(rb"[\\^= ]", element.value or b"")
            found = {piece for piece in pieces if len(piece) >= SHORTEST_FRAGMENT and not piece.isascii()}
            self.raw |= found
            self.own_raw |= set() if keyword_for_tag(element.tag) in _OF_PLACES else found

    def _learn_value(self, element: DataElement) -> None:
        value = element.value
        texts = [fold(str(v)) for v in (value if isinstance(value, (MultiValue, list, tuple)) else [value]) if v]
        if element.VR == "UI":
            self.uids |= {text for text in texts if not is_registered(text) and text != IMPLEMENTATION_CLASS_UID}
        elif element.VR == "PN" or element.keyword in NAMES:
            for text in texts:
                words = {word for word in words_of(text) if len(word) >= SHORTEST_WORD}
                self.words |= words
                self.own_words |= words if element.VR == "PN" else set()
                self._learn_phrase(text, element)
                self._learn_phrase(" ".join(words_of(text)), element)
        elif element.keyword in IDENTIFIERS:
            for text in texts:
                self._learn_phrase(text, element)
            self.birth_dates |= set(texts) if element.keyword == "PatientBirthDate" else set()
        elif element.keyword == "StudyDate":
            self.study_dates |= set(texts)
        elif element.VR in _TEXT_VRS and not element.tag.is_private and self._is_removed(element.tag):
            self.descriptions |= {text for text in texts if len(text) >= SHORTEST_WORD}

    def _learn_phrase(self, text: str, element: DataElement) -> None:
        if len(text) >= SHORTEST_WORD:
            self.phrases.add(text)
            if element.keyword not in _OF_PLACES:
                self.own_phrases.add(text)

    def _is_removed(self, tag: BaseTag) -> bool:
        """Whether the Basic Profile takes the value away; where an option does not, it still belongs nowhere else."""
        rule = self.profile.rules.get(int(tag))
        if rule is None or rule.is_retained or rule.otherwise is not None:
            return True
        return rule.action not in {Action.KEEP, Action.CLEAN}

    def names_somebody(self, text: str) -> bool:
        """Whether a text holds a word of a name, or an id."""
        text = fold(text)
        return bool(self.words & set(words_of(text))) or any(
            known == text or (len(known) >= SHORTEST_FRAGMENT and known in text) for known in self.words | self.phrases
        )


def _depends_on_others(element: RawDataElement) -> bool:
    """Whether pydicom looks the VR up by the private creator, which is another element."""
    return element.tag.is_private and element.VR in {None, "UN"}


@cache
def _tags_of_identifiers() -> frozenset[int]:
    return frozenset(tag for keyword in (*IDENTIFIERS, *NAMES, "StudyDate") if (tag := tag_for_keyword(keyword)))


def _is_identifier(tag: BaseTag) -> bool:
    return keyword_for_tag(tag) in IDENTIFIERS | NAMES


def fold(text: str) -> str:
    """Write a text as it is compared: without case and without outer blanks."""
    return text.casefold().strip(" \0\t\r\n")


def words_of(text: str) -> list[str]:
    """Letters and digits in a row."""
    return _WORD.findall(fold(text))
