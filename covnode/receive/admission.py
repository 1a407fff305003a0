"""Who may come in: the address before a byte is read, then the AE titles, the gate and the number of associations.

Comes from a door, which asks at every accept and every A-ASSOCIATE-RQ; the answer goes back to it as a slot to give
back at the end of the association or as the figures of an A-ASSOCIATE-RJ. It speaks no DICOM itself.
"""

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Protocol

from covnode.logs import get_logger
from covnode.receive.slots import AssociationSlots, Slot
from covnode.settings import NodeSettings, ReceiveSettings

DICOM_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""The only one that there is (PS3.7 A.2.1)."""

_ANY = "*"


@dataclass(frozen=True)
class Rejection:
    """An A-ASSOCIATE-RJ with the figures of PS3.8 Table 9-21, and a word for the log."""

    result: int
    source: int
    reason: int
    word: str


CONTEXT_NAME_NOT_SUPPORTED = Rejection(1, 1, 2, "application-context-name-not-supported")
CALLED_NOT_RECOGNIZED = Rejection(1, 1, 7, "called-AE-title-not-recognized")
CALLING_NOT_RECOGNIZED = Rejection(1, 1, 3, "calling-AE-title-not-recognized")
TEMPORARY_CONGESTION = Rejection(2, 3, 1, "temporary-congestion")
LOCAL_LIMIT_EXCEEDED = Rejection(2, 3, 2, "local-limit-exceeded")


class ClosableGate(Protocol):
    """Whether the node can keep what it is sent."""

    def closed_because(self) -> str | None:
        """Return why nothing can be kept now; None when it can."""


@dataclass(frozen=True)
class AdmissionRules:
    """What may come in.

    Attributes
    ----------
    called
        AE titles that this node answers to; None: any.
    calling
        AE titles that may push; None: any.
    networks
        Addresses that may connect; None: any.
    """

    called: frozenset[str] | None = None
    calling: frozenset[str] | None = None
    networks: tuple[IPv4Network | IPv6Network, ...] | None = None

    @classmethod
    def of(cls, node: NodeSettings, receive: ReceiveSettings) -> "AdmissionRules":
        """Return the rules that the settings ask for."""
        called = _titles({node.ae_title, *receive.called_ae_titles})
        return cls(
            called=None if _ANY in called else called,
            calling=_titles(receive.calling_ae_titles) or None,
            networks=receive.allow_from or None,
        )

    def allow(self, address: str) -> bool:
        """Return whether this IP address may connect."""
        if self.networks is None:
            return True
        peer = ip_address(address)
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped  # an IPv4 peer on a socket that listens on both
        return any(peer in network for network in self.networks)


def _titles(titles: Collection[str]) -> frozenset[str]:
    return frozenset(map(_significant, titles))


def _significant(title: str) -> str:
    return title.strip(" ")  # leading and trailing spaces do not count, PS3.5 table 6.2-1


class Admission:
    """The rules, asked once for each connection and once for each association.

    Parameters
    ----------
    rules
        Who may come in.
    gate
        Closed while nothing can be kept.
    slots
        The places of the associations, shared with the other doors.
    """

    def __init__(self, rules: AdmissionRules, gate: ClosableGate, slots: AssociationSlots) -> None:
        self._rules = rules
        self._gate = gate
        self._slots = slots
        self._log = get_logger()

    def admit_address(self, address: str) -> bool:
        """Return whether this IP address may connect; one that may not is to be closed before a byte is read."""
        allowed = self._rules.allow(address)
        if not allowed:
            self._log.warning("address_not_allowed", address=address)
        return allowed

    def admit(
        self, called: str, calling: str, address: str, application_context: str = DICOM_APPLICATION_CONTEXT
    ) -> Slot | Rejection:
        """Return the slot of a new association, to be released at its end, or why there is none.

        Parameters
        ----------
        called, calling
            AE titles of the A-ASSOCIATE-RQ, with or without the spaces around them.
        address
            Where it comes from, for the log.
        application_context
            The Application Context Name that it proposes.
        """
        calling = _significant(calling)
        rejection, because = self._refused(_significant(called), calling, application_context)
        if rejection is None:
            try:
                slot = self._slots.take(calling)
            except OSError as error:
                rejection, because = TEMPORARY_CONGESTION, f"no slot can be taken: {error.strerror}"
            else:
                if slot is not None:
                    return slot
                rejection, because = LOCAL_LIMIT_EXCEEDED, "too many associations are open"
        self._log.warning(
            "association_rejected", reason=rejection.word, because=because, calling=calling, address=address
        )
        return rejection

    def _refused(self, called: str, calling: str, application_context: str) -> tuple[Rejection | None, str]:
        # What is wrong for ever comes first: a stranger is not told to try again later.
        if application_context != DICOM_APPLICATION_CONTEXT:
            return CONTEXT_NAME_NOT_SUPPORTED, "the application context is not that of DICOM"
        if self._rules.called is not None and called not in self._rules.called:
            return CALLED_NOT_RECOGNIZED, "the AE title called is not one of this node"
        if self._rules.calling is not None and calling not in self._rules.calling:
            return CALLING_NOT_RECOGNIZED, "the AE title is not in receive.calling_ae_titles"
        closed = self._gate.closed_because()
        return (TEMPORARY_CONGESTION, closed) if closed else (None, "")
