"""Makes the de-identification's profile of the settings, once a process.

Comes from settings; goes to the intake and to ``covnode deidentify``. Never lets the node's copies hold what the worker
must not see: docs/adr/0012.
"""

from dataclasses import replace
from pathlib import Path

from covnode.deidentify.options import BurnedInText, Option
from covnode.deidentify.profile import Profile, build_profile
from covnode.deidentify.safe_private import load_safe_private
from covnode.errors import ConfigurationError
from covnode.sections import Dates, DeidentifySettings

_DATES: dict[Dates, frozenset[Option]] = {
    "modified": frozenset({Option.MODIFIED_DATES}),
    "full": frozenset({Option.FULL_DATES}),
    "removed": frozenset(),
}
OF_THE_NODE = frozenset(
    {Option.MODIFIED_DATES, Option.STRUCTURED_CONTENT, Option.DESCRIPTORS, Option.PATIENT_CHARACTERISTICS}
)
"""What the copies that the worker reads may be made under."""


def profile_of(settings: DeidentifySettings) -> Profile:
    """Make the profile of a folder's export.

    Raises
    ------
    ConfigurationError
        The list of safe private attributes cannot be used.
    """
    options = frozenset(Option(name) for name in settings.options) | _DATES[settings.dates]
    if settings.safe_private:
        profile = build_profile(options | {Option.SAFE_PRIVATE}, load_safe_private(Path(settings.safe_private)))
    else:
        profile = build_profile(options)
    return replace(profile, burned_in_text=BurnedInText(settings.burned_in_text))


def profile_of_the_node(settings: DeidentifySettings) -> Profile:
    """Make the profile of the copies that the worker reads.

    Raises
    ------
    ConfigurationError
        An option would let an identity, an original UID or a date of the patient reach the worker.
    """
    profile = profile_of(settings)
    refused: list[str] = sorted(profile.options - OF_THE_NODE)
    if settings.dates == "removed":
        refused.append("dates removed")
    if refused:
        raise ConfigurationError(
            f"[deidentify] asks for {', '.join(refused)}: the copies that the worker reads do not take that "
            "(docs/adr/0012). Take it out of the configuration, and give it to 'covnode deidentify' where a folder is "
            "exported: --option, --dates, --safe-private."
        )
    return profile
