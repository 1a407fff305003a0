"""What is known of a series that comes in: how its transfer stands, what came, and what should have come.

Comes from the association ledger and the facts of its instances; goes to the rules of assembly, into the tables and to
whoever asks why a series counts as complete. Holds no identity.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from covnode.receive.slice_stack import StackGeometry, geometry_of
from covnode.records.arrival import SliceFacts

RELEASED = "released"
ABORTED = "aborted"
OPEN = "open"

ExpectedBy = Literal["tag", "c-find"]


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
        How many instances the headers announce.
    """

    instances: int
    frames: int
    missing_numbers: int | None
    geometry: StackGeometry
    expected_by_tag: int | None

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
        expected_by_tag=_expected(known),
    )


def _missing_numbers(instances: Sequence[SliceFacts]) -> int | None:
    numbers = {facts.instance_number for facts in instances if facts.instance_number is not None}
    if not numbers or any(facts.instance_number is None for facts in instances):
        return None
    return max(numbers) - min(numbers) + 1 - len(numbers)


def _expected(instances: Sequence[SliceFacts]) -> int | None:
    by_acquisition: dict[int | None, int] = defaultdict(int)
    for facts in instances:
        if facts.expected_instances and facts.expected_instances > 0:
            number = facts.acquisition_number
            by_acquisition[number] = max(by_acquisition[number], facts.expected_instances)
    if not by_acquisition:
        return None
    largest = max(by_acquisition.values())
    # One tag counts the series, another the acquisition: with more instances than it says, it was the acquisition.
    return largest if len(instances) <= largest else sum(by_acquisition.values())
