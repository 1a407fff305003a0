"""What is known of a series that comes in: how its transfer stands, what came, and what should have come.

Comes from the association ledger and the facts of its instances; goes to the rules of assembly, into the tables and to
whoever asks why a series counts as complete. Holds no identity.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from covnode.receive.slice_stack import StackGeometry, geometry_of
from covnode.records.arrival import SliceFacts

RELEASED = "released"
ABORTED = "aborted"
OPEN = "open"

ExpectedBy = Literal["tag", "acquisition", "c-find"]
"""Who says how many instances are to come; the count of the acquisitions seen says nothing of one still to come."""


@dataclass(frozen=True)
class Contents:
    """What has come of a series.

    Attributes
    ----------
    instances
        Distinct SOP Instances.
    frames
        Frames of its multi-frame instances.
    missing_numbers
        Instance Numbers between the smallest and the largest that did not come; None: not all instances have one.
    expected_by_tag
        How many instances of the series the headers announce.
    expected_by_acquisition
        How many images the headers announce of the acquisitions seen so far, together.
    """

    instances: int
    frames: int
    missing_numbers: int | None
    geometry: StackGeometry
    expected_by_tag: int | None
    expected_by_acquisition: int | None = None

    @property
    def announced(self) -> tuple[int | None, ExpectedBy | None]:
        """How many instances the headers announce, and by what."""
        if self.expected_by_tag is not None:
            return self.expected_by_tag, "tag"
        return self.expected_by_acquisition, None if self.expected_by_acquisition is None else "acquisition"

    @property
    def seems_whole(self) -> bool:
        """Whether nothing shows a hole and something shows that there is none."""
        if self.geometry.gaps:
            return False
        if self.geometry.contiguous and self.geometry.alone:
            return True
        # Several slices at one position, or several stacks: a slice may be missing that another one covers.
        if self.missing_numbers is not None:
            return self.missing_numbers == 0
        return self.geometry.contiguous is True or (self.instances == 1 and self.frames > 0)


@dataclass(frozen=True)
class Evidence:
    """What speaks for a series being complete at one moment.

    Attributes
    ----------
    association
        RELEASED, ABORTED or OPEN: how the associations that fed it ended. What fed it before a restart of the node
        counts as aborted.
    quiet_s, age_s
        Time since its last and since its first slice (of this revision).
    expected, expected_by
        How many instances it is to have, and who says so.
    """

    association: str
    quiet_s: float
    age_s: float
    contents: Contents
    expected: int | None = None
    expected_by: ExpectedBy | None = None

    @property
    def is_all_there(self) -> bool:
        """Whether exactly as many came as are expected; a count that was exceeded is no count."""
        return self.contents.instances == self.expected

    @property
    def is_short(self) -> bool:
        """Whether fewer came than are expected."""
        return self.expected is not None and self.contents.instances < self.expected

    def as_json(self, rule: str) -> dict[str, Any]:
        """Return all of it for the tables, with the rule that it met."""
        contents = asdict(self.contents)
        geometry = contents.pop("geometry")
        return {
            "rule": rule,
            "association": self.association,
            "quiet_s": round(self.quiet_s, 1),
            "age_s": round(self.age_s, 1),
            "expected": self.expected,
            "expected_by": self.expected_by,
            **contents,
            "geometry": geometry,
        }


def contents_of(instances: Sequence[SliceFacts | None]) -> Contents:
    """Sum up the distinct instances of a series; None: nothing is known of one but that it came."""
    known = [facts or SliceFacts() for facts in instances]
    return Contents(
        instances=len(known),
        frames=sum(facts.frames for facts in known if facts.frames and facts.frames > 1),
        missing_numbers=_missing_numbers(known),
        geometry=geometry_of(known),
        expected_by_tag=max((facts.expected_instances or 0 for facts in known), default=0) or None,
        expected_by_acquisition=_in_acquisitions(known),
    )


def _missing_numbers(instances: Sequence[SliceFacts]) -> int | None:
    numbers = {facts.instance_number for facts in instances if facts.instance_number is not None}
    if not numbers or any(facts.instance_number is None for facts in instances):
        return None
    return max(numbers) - min(numbers) + 1 - len(numbers)


def _in_acquisitions(instances: Sequence[SliceFacts]) -> int | None:
    """Add up what is announced of each acquisition; None where one says nothing, or more came of it than it says."""
    announced: dict[int | None, int] = defaultdict(int)
    came: Counter[int | None] = Counter()
    for facts in instances:
        number = facts.acquisition_number
        announced[number] = max(announced[number], facts.images_in_acquisition or 0)
        came[number] += 1
    if not announced or any(announced[number] < count for number, count in came.items()):
        return None
    return sum(announced.values())
