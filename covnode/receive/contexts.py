"""What is taken: SOP classes and transfer syntaxes, as the settings name them, the preferred first.

Comes from the settings; goes to the presentation contexts of scp and of retrievals, and to STOW-RS.
"""

import pydicom.uid
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEG2000MCLossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from covnode.errors import ConfigurationError
from covnode.receive.instance_facts import is_uid

_LOSSLESS = frozenset(
    {
        JPEGLossless,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEG2000Lossless,
        JPEG2000MCLossless,
        HTJ2KLossless,
        HTJ2KLosslessRPCL,
        RLELossless,
    }
)


def transfer_syntaxes(configured: tuple[str, ...]) -> list[str]:
    """Return the transfer syntaxes to take, the preferred first; by default all, what loses nothing before the rest."""
    # pynetdicom takes the first of this list that the peer proposes in the context.
    return list(configured) or sorted(AllTransferSyntaxes, key=_preference)


def _preference(syntax: str) -> int:
    if syntax == ExplicitVRLittleEndian:
        return 0
    if not UID(syntax).is_compressed:
        return 1
    return 2 if syntax in _LOSSLESS else 3


def sop_class_uids(configured: tuple[str, ...]) -> list[str]:
    """Return the UIDs of SOP classes given by keyword or UID.

    Raises
    ------
    ConfigurationError
        A keyword is unknown.
    """
    uids = [name if is_uid(name) else str(getattr(pydicom.uid, name, "")) for name in configured]
    if "" in uids:
        raise ConfigurationError(f"receive.sop_classes: {configured[uids.index('')]} is no SOP class of the standard.")
    return uids
