"""The transitions of the node at which a failpoint can sit, as data: where the node may be killed, frozen or cut off.

Read by chaos.failpoints, which wraps what each names, and by chaos.plan, which makes cases of them. Nothing of the
node knows of them. A point whose name ends with ``.uncommitted`` lies behind a write and before its commit: there it
shows whether a transaction holds together.
"""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """A process of the node; INFER is the worker's child."""

    DOOR = "door"
    RECEIVE = "receive"
    WORK = "work"
    INFER = "infer"
    SEND = "send"


class Need(StrEnum):
    """What must happen for a point to be reached at all."""

    SERIES = "series"
    UNUSABLE_SERIES = "unusable_series"
    REFUSED_SERIES = "refused_series"
    STOW = "stow"
    COMMITMENT = "commitment"
    PACS_AWAY = "pacs_away"
    CHILD_KILLED = "child_killed"
    WORKER_LOST = "worker_lost"
    JOB_LOST = "job_lost"


@dataclass(frozen=True)
class Point:
    """One failpoint.

    Attributes
    ----------
    target
        ``module:name`` of a function, or ``module:Class.name`` of a method.
    after
        Whether it is reached when the call has returned, and not before it.
    also
        Another role that may come to it, whichever is first.
    """

    name: str
    role: Role
    target: str
    after: bool
    need: Need = Need.SERIES
    also: Role | None = None


OF_JOBS = (Role.WORK, Role.SEND)
"""The roles that hold jobs, which another host takes over."""

_DOOR, _RECEIVE, _WORK, _INFER, _SEND = Role
_ANALYSES, _DELIVERIES = "covnode.wiring.worker:AnalysesInStore", "covnode.wiring.sender:DeliveriesInStore"
_CHOICE, _INTAKE = "covnode.wiring.choosing:Choosing", "covnode.wiring.intake:IntakeInStore"
_COMMITMENTS = "covnode.wiring.commitments:Commitments"
_STEPS, _CHILD = "covnode.wiring.sender:DeliveryStages", "covnode.wiring.worker:InferenceChild"
_ENQUEUE = "covnode.queue.engine:DbosQueue.enqueue"

POINTS = (
    Point("door.arrived", _DOOR, "covnode.receive.spool:IncomingFile.keep", after=False),
    Point("door.durable", _DOOR, "covnode.receive.spool:IncomingFile.keep", after=True),
    Point("door.told", _DOOR, "covnode.wiring.door:Line.tell", after=True),
    Point("door.stow.durable", _DOOR, "covnode.receive.stow_upload:_Part._keep", after=True, need=Need.STOW),
    Point("door.stow.taken", _DOOR, "covnode.receive.stow_upload:Upload.finish", after=True, need=Need.STOW),
    Point("door.commitment.kept", _DOOR, "covnode.receive.commitment:keep_request", after=True, need=Need.COMMITMENT),
    Point("receive.commitment.heard", _RECEIVE, f"{_COMMITMENTS}.put", after=False, need=Need.COMMITMENT),
    Point("receive.commitment.reported", _RECEIVE, f"{_COMMITMENTS}._forget", after=False, need=Need.COMMITMENT),
    Point("receive.commitment.forgotten", _RECEIVE, f"{_COMMITMENTS}._forget", after=True, need=Need.COMMITMENT),
    Point("receive.heard", _RECEIVE, "covnode.store.arrivals:record", after=False),
    Point("receive.record.uncommitted", _RECEIVE, "covnode.store.arrivals:record", after=True),
    Point("receive.recorded", _RECEIVE, "covnode.wiring.recorder:Recorder._note", after=False),
    Point("receive.complete.uncommitted", _RECEIVE, "covnode.store.series:mark_complete", after=True),
    Point("receive.completed", _RECEIVE, "covnode.wiring.assembling:Assembling._close", after=True),
    Point("receive.choosing", _RECEIVE, f"{_CHOICE}._carry_out", after=False),
    Point("receive.choice.uncommitted", _RECEIVE, "covnode.store.series:mark_chosen", after=True),
    Point("receive.chosen", _RECEIVE, f"{_CHOICE}._carry_out", after=True),
    Point("receive.taking_in", _RECEIVE, f"{_INTAKE}.received", after=True),
    Point("receive.deidentified", _RECEIVE, "covnode.wiring.intake:deidentify_series", after=True),
    Point("receive.hand_over.uncommitted", _RECEIVE, "covnode.store.series:mark_handed_over", after=True),
    Point("receive.vault.uncommitted", _RECEIVE, "covnode.store.vault:IdentityVault.keep", after=True),
    Point("receive.analysis.uncommitted", _RECEIVE, "covnode.store.analyses:open_analysis", after=True),
    Point("receive.enqueue.uncommitted", _RECEIVE, _ENQUEUE, after=True),
    Point("receive.handed_over", _RECEIVE, f"{_INTAKE}.hand_over", after=True),
    Point(
        "receive.quarantine.uncommitted",
        _RECEIVE,
        "covnode.store.series:quarantine",
        after=True,
        need=Need.REFUSED_SERIES,
    ),
    Point("receive.quarantined", _RECEIVE, f"{_INTAKE}.quarantine", after=True, need=Need.REFUSED_SERIES),
    Point("work.claiming", _WORK, f"{_ANALYSES}.claim", after=False),
    Point("work.claim.uncommitted", _WORK, "covnode.store.analyses:claim", after=True),
    Point("work.claimed", _WORK, f"{_ANALYSES}.claim", after=True),
    Point("work.analysed", _WORK, f"{_CHILD}.infer", after=True),
    Point("work.result.uncommitted", _WORK, "covnode.store.analyses:mark_analysed", after=True),
    Point("work.delivery.uncommitted", _WORK, "covnode.store.deliveries:open_delivery", after=True),
    Point("work.enqueue.uncommitted", _WORK, _ENQUEUE, after=True),
    Point("work.finished", _WORK, f"{_ANALYSES}.finish", after=True),
    Point(
        "work.refusal.uncommitted", _WORK, "covnode.store.analyses:mark_ended", after=True, need=Need.UNUSABLE_SERIES
    ),
    Point("work.refused", _WORK, f"{_ANALYSES}.end", after=True, need=Need.UNUSABLE_SERIES),
    Point(
        "work.interruption.uncommitted",
        _WORK,
        "covnode.store.analyses:note_interruption",
        after=True,
        need=Need.CHILD_KILLED,
    ),
    Point("work.interrupted", _WORK, f"{_ANALYSES}.interrupted", after=True, need=Need.CHILD_KILLED),
    Point("infer.begun", _INFER, "covnode.wiring.inference:infer_series", after=False),
    Point("infer.objects_written", _INFER, "covnode.wiring.inference:write_objects", after=True),
    Point("infer.result_saved", _INFER, "covnode.wiring.inference:save_result", after=True),
    Point("send.claiming", _SEND, f"{_DELIVERIES}.claim", after=False),
    Point("send.claim.uncommitted", _SEND, "covnode.store.deliveries:claim", after=True),
    Point("send.claimed", _SEND, f"{_DELIVERIES}.claim", after=True),
    Point("send.restored", _SEND, f"{_STEPS}.restore", after=True),
    Point("send.checked", _SEND, f"{_STEPS}.check", after=True),
    Point("send.stored", _SEND, f"{_DELIVERIES}.stored", after=False),
    Point("send.object.uncommitted", _SEND, "covnode.store.deliveries:record_object", after=True),
    Point("send.object_recorded", _SEND, f"{_DELIVERIES}.stored", after=True),
    Point("send.sent", _SEND, f"{_STEPS}.send", after=True),
    Point("send.end.uncommitted", _SEND, "covnode.store.deliveries:mark_ended", after=True),
    Point("send.ended", _SEND, f"{_DELIVERIES}.end", after=True),
    Point("send.retry.uncommitted", _SEND, "covnode.store.deliveries:retry_later", after=True, need=Need.PACS_AWAY),
    Point("send.retry.enqueue.uncommitted", _SEND, _ENQUEUE, after=True, need=Need.PACS_AWAY),
    Point("send.postponed", _SEND, f"{_DELIVERIES}.retry_later", after=True, need=Need.PACS_AWAY),
    Point(
        "send.reaping", _SEND, "covnode.queue.engine:DbosRunner.recover", after=False, need=Need.WORKER_LOST, also=_WORK
    ),
    Point(
        "send.reaped", _SEND, "covnode.queue.engine:DbosRunner.recover", after=True, need=Need.WORKER_LOST, also=_WORK
    ),
    Point(
        "send.requeue.uncommitted",
        _SEND,
        "covnode.store.requeue:enqueue_again",
        after=True,
        need=Need.JOB_LOST,
        also=_WORK,
    ),
    Point("send.requeued", _SEND, "covnode.wiring.node:requeue_lost", after=True, need=Need.JOB_LOST, also=_WORK),
)
