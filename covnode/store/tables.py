"""Our own tables: they carry the truth. The engine's tables carry only which job runs when.

No column holds an identity in clear: original UIDs appear as keyed digests, identities sealed.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no zone, so it is put back on reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        """Store as UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        """Read as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite's integers hold 64 bits whatever they are called.
BigInteger = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class Base(DeclarativeBase):
    """Root of the tables."""

    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: sa.JSON, list[str]: sa.JSON}  # noqa: RUF012 (SQLAlchemy reads it from the class)


class StudyRow(Base):
    """A study that series came in of.

    ``chosen_series_id`` is the series whose analysis counts; each change of it is a new ``choice_revision``.
    """

    __tablename__ = "studies"

    study_id: Mapped[str] = mapped_column(primary_key=True)
    study_digest: Mapped[str] = mapped_column(unique=True)
    received_at: Mapped[datetime]
    last_instance_at: Mapped[datetime]
    stat: Mapped[bool] = mapped_column(default=False)
    choice_revision: Mapped[int] = mapped_column(default=0)
    chosen_series_id: Mapped[str | None]


class SeriesRow(Base):
    """A series that came in.

    ``completeness`` is the evidence as a sentence, ``evidence`` as figures; ``score_sheet`` why it was chosen or not;
    ``receiver`` the executor that sees to it until it is handed over: the one that recorded its last instances.
    ``spool`` names the spool that has its files, where hosts share none: nobody else can work on them.
    ``files_removed_at`` is when retention last removed its files; ``files_held``: some may lie on disk (again).
    """

    __tablename__ = "series"

    series_id: Mapped[str] = mapped_column(primary_key=True)
    study_id: Mapped[str | None] = mapped_column(sa.ForeignKey("studies.study_id"), index=True)
    series_digest: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(index=True)
    revision: Mapped[int]
    received_at: Mapped[datetime] = mapped_column(index=True)
    last_instance_at: Mapped[datetime]
    state_at: Mapped[datetime]
    instance_count: Mapped[int] = mapped_column(default=0)
    source_ae_title: Mapped[str]
    expected_instances: Mapped[int | None]
    completeness: Mapped[str | None]
    evidence: Mapped[dict[str, Any] | None]
    score_sheet: Mapped[dict[str, Any] | None]
    intake_attempts: Mapped[int] = mapped_column(default=0)
    receiver: Mapped[str | None]
    spool: Mapped[str | None]
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    files_removed_at: Mapped[datetime | None]
    files_held: Mapped[bool] = mapped_column(default=True, server_default=sa.true())


class InstanceRow(Base):
    """One received instance; the same SOP Instance UID with other content is a second row.

    ``file_name`` is relative to the spool; ``facts`` are a SliceFacts; a late slice that was not wanted is ``ignored``.
    """

    __tablename__ = "instances"
    __table_args__ = (sa.UniqueConstraint("series_id", "sop_digest", "content_digest"),)

    instance_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    series_id: Mapped[str] = mapped_column(sa.ForeignKey("series.series_id"), index=True)
    sop_digest: Mapped[str] = mapped_column(index=True)
    content_digest: Mapped[str]
    file_name: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sop_class_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    received_at: Mapped[datetime]
    patient_digest: Mapped[str | None]
    facts: Mapped[dict[str, Any] | None]
    ignored: Mapped[bool] = mapped_column(default=False, server_default=sa.false())


class PatientRow(Base):
    """A patient by keyed digest of issuer and id, or a study whose patient has no id.

    ``key_generation`` made the pseudonyms and does so for ever; ``sealed_with`` is the generation that sealed the
    offset; series to come carry the pseudonymous id and offset of ``merged_into``.
    """

    __tablename__ = "patients"

    patient_digest: Mapped[str] = mapped_column(primary_key=True)
    key_generation: Mapped[int]
    pseudonymous_patient_id: Mapped[str] = mapped_column(unique=True)
    sealed_offset: Mapped[bytes]
    sealed_with: Mapped[int]
    merged_into: Mapped[str | None] = mapped_column(sa.ForeignKey("patients.pseudonymous_patient_id"))


class IdentityRow(Base):
    """The vault: whose series it is, sealed by a generation of the keys.

    The pseudonyms are those of the de-identified copy; None in rows of older releases until they are tied.
    """

    __tablename__ = "identities"

    series_id: Mapped[str] = mapped_column(sa.ForeignKey("series.series_id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    sealed: Mapped[bytes]
    sealed_with: Mapped[int] = mapped_column(default=1, server_default="1")
    pseudonymous_patient_id: Mapped[str | None] = mapped_column(index=True)
    pseudonymous_study_uid: Mapped[str | None] = mapped_column(index=True)
    pseudonymous_series_uid: Mapped[str | None] = mapped_column(index=True)


class AuditRow(Base):
    """One act on identities; triggers keep a row from being changed or removed."""

    __tablename__ = "identity_audit"

    audit_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    subjects: Mapped[list[str]]
    reason: Mapped[str]
    outcome: Mapped[str]
    identities: Mapped[int]


class QueueRow(Base):
    """A queue by its name; while ``paused_at`` is set nothing of it is claimed."""

    __tablename__ = "job_queues"  # "queues" is the engine's, which shares a SQLite file with us

    name: Mapped[str] = mapped_column(primary_key=True)
    paused_at: Mapped[datetime | None]
    reason: Mapped[str | None]


class AnalysisRow(Base):
    """One analysis of one revision of a series.

    ``reason`` belongs to the state; ``last_error`` is why the last attempt that ended early did, and stays.
    ``device`` is where the result was made, with what had too little memory before.
    ``copy_place`` and ``result_place`` are where the series and the result lie in the object store; None: in folders.
    """

    __tablename__ = "analyses"
    __table_args__ = (sa.UniqueConstraint("series_id", "revision"),)

    analysis_id: Mapped[str] = mapped_column(primary_key=True)
    series_id: Mapped[str] = mapped_column(sa.ForeignKey("series.series_id"), index=True)
    revision: Mapped[int]
    state: Mapped[str] = mapped_column(index=True)
    input_sha256: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    enqueues: Mapped[int] = mapped_column(default=1)
    priority: Mapped[int] = mapped_column(default=10, server_default="10")
    progress_percent: Mapped[int] = mapped_column(default=0)
    executor_id: Mapped[str | None]
    queued_at: Mapped[datetime] = mapped_column(index=True)
    first_claimed_at: Mapped[datetime | None]
    state_at: Mapped[datetime]
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    last_error: Mapped[str | None]
    device: Mapped[str | None]
    copy_place: Mapped[str | None]
    result_place: Mapped[str | None]
    cautions: Mapped[list[str] | None]
    timings_s: Mapped[dict[str, Any] | None]


class ShadowAnswerRow(Base):
    """What a shadow answered to one analysis, as in records.shadow; goes into nothing that leaves."""

    __tablename__ = "shadow_answers"

    analysis_id: Mapped[str] = mapped_column(sa.ForeignKey("analyses.analysis_id"), primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    sha256: Mapped[str] = mapped_column(index=True)
    active_model: Mapped[str]
    active_sha256: Mapped[str | None]
    active_answer: Mapped[float | None]
    answer: Mapped[float | None]
    agrees: Mapped[bool | None]
    dice: Mapped[float | None]
    error: Mapped[str | None]


class DeliveryRow(Base):
    """One analysis on its way to one destination; ``last_error`` as in AnalysisRow.

    ``waits_for`` is a WaitsFor: while it is set, the delivery is queued and has no job. ``crashes`` counts the senders
    in a row that died while they sent it. One that ``lets_pass`` holds up no later one of its study any more.
    ``spool`` is that of its series: the sender beside it delivers, since it compares with the files as received.
    """

    __tablename__ = "deliveries"
    __table_args__ = (sa.UniqueConstraint("analysis_id", "destination"),)

    delivery_id: Mapped[str] = mapped_column(primary_key=True)
    analysis_id: Mapped[str] = mapped_column(sa.ForeignKey("analyses.analysis_id"), index=True)
    destination: Mapped[str] = mapped_column(index=True)
    state: Mapped[str] = mapped_column(index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0, server_default="0")
    crashes: Mapped[int] = mapped_column(default=0, server_default="0")
    lets_pass: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    enqueues: Mapped[int] = mapped_column(default=1)
    priority: Mapped[int] = mapped_column(default=10, server_default="10")
    executor_id: Mapped[str | None]
    queued_at: Mapped[datetime] = mapped_column(index=True)
    first_claimed_at: Mapped[datetime | None]
    state_at: Mapped[datetime]
    next_attempt_at: Mapped[datetime | None]
    waits_for: Mapped[str | None]
    spool: Mapped[str | None]
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    last_error: Mapped[str | None]


class DeliveredObjectRow(Base):
    """One object that the destination has answered for with success."""

    __tablename__ = "delivered_objects"

    delivery_id: Mapped[str] = mapped_column(sa.ForeignKey("deliveries.delivery_id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str]
    status: Mapped[int]
    sent_at: Mapped[datetime]


class DestinationRow(Base):
    """The circuit breaker of one destination; there is a row once it was not reached.

    ``failures`` counts attempts in a row that did not reach it. It is away since ``away_since``: nothing is sent, and
    at ``next_probe_at`` one sender asks whether it answers.
    """

    __tablename__ = "destinations"

    destination: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int] = mapped_column(default=0)
    away_since: Mapped[datetime | None]
    next_probe_at: Mapped[datetime | None]
    last_error: Mapped[str | None]


class ExecutorRow(Base):
    """A live receiver or process that runs jobs, by its heartbeat on the database's clock."""

    __tablename__ = "executors"

    executor_id: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    beat_at_s: Mapped[float]
