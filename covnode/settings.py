"""The configuration: one TOML file, one frozen section a stage, read once by wiring.

An unknown key is an error. ``COVNODE__SECTION__KEY`` in the environment overrides a key of the file.
"""

import os
import tomllib
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, IPvAnyNetwork, StringConstraints, ValidationError

from covnode.errors import ConfigurationError
from covnode.home import Home
from covnode.sections import (
    DeidentifySettings,
    FilesSettings,
    ObjectsSettings,
    QualitySettings,
    RetentionSettings,
    Section,
    WorkerSettings,
)

ENVIRONMENT_PREFIX = "COVNODE__"

CT_KEYWORDS = ("CTImageStorage", "EnhancedCTImageStorage", "LegacyConvertedEnhancedCTImageStorage")
"""The SOP classes that the node can analyse, by keyword."""


# PS3.5 table 6.2-1: ASCII without a backslash, not spaces alone.
AETitle = Annotated[str, StringConstraints(max_length=16, pattern=r"^[ -\[\]-~]*[!-\[\]-~][ -\[\]-~]*$")]


class NodeSettings(Section):
    """The node as others see it."""

    ae_title: AETitle = Field(default="COVNODE", description="AE title of this node")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level logged")
    warn_free_gb: float = Field(default=10.0, ge=0, description="with less room on a disk, log and doctor warn")


class ReceiveSettings(Section):
    """The front door: C-STORE, C-ECHO and storage commitment, without TLS."""

    enabled: bool = Field(default=True, description="listen without TLS")
    bind: str = Field(default="0.0.0.0", description="address that the DICOM ports listen on")  # noqa: S104 (modalities push from other hosts)
    port: int = Field(default=11112, ge=0, le=65535, description="port without TLS")
    processes: int = Field(default=2, ge=1, le=16, description="processes that receive, on the same ports")
    called_ae_titles: tuple[str, ...] = Field(
        default=(), description='AE titles that this node answers to beside its own; "*": any'
    )
    calling_ae_titles: tuple[AETitle, ...] = Field(default=(), description="AE titles that may push; empty: any")
    allow_from: tuple[IPvAnyNetwork, ...] = Field(
        default=(), description="addresses and networks (192.0.2.0/24) that may connect; empty: any"
    )
    max_associations: int = Field(default=32, ge=1, description="associations open at a time")
    max_associations_per_peer: int = Field(default=16, ge=1, description="the same for one calling AE title")
    network_timeout_s: float = Field(default=60.0, gt=0, description="a silent association is aborted after this long")
    association_timeout_s: float = Field(
        default=14400.0, gt=0, description="an association is aborted after this long, whatever it does"
    )
    max_pdu_bytes: int = Field(default=1 << 20, ge=4096, le=1 << 26, description="longest PDU that a sender may send")
    sop_classes: tuple[str, ...] = Field(
        default=CT_KEYWORDS, description="SOP classes that are taken, by keyword or UID"
    )
    transfer_syntaxes: tuple[str, ...] = Field(
        default=(), description="transfer syntaxes that are taken, by UID, the preferred first; empty: all, as sent"
    )
    min_free_gb: float = Field(default=2.0, ge=0, description="with less room on the spool's disk nothing is taken")
    late_slices: Literal["amend", "ignore", "new_series"] = Field(
        default="amend",
        description="a slice that comes after its series was complete: amend: analyse again, the new result "
        "supersedes; ignore: keep it, change nothing; new_series: it begins a series of its own",
    )


class CompletenessSettings(Section):
    """When a series counts as complete."""

    idle_s: float = Field(default=5.0, gt=0, description="quiet time after the release, when the slices show no gap")
    gap_idle_s: float = Field(default=30.0, gt=0, description="the same when a slice seems to be missing")
    open_idle_s: float = Field(default=30.0, gt=0, description="the same while the sender keeps its association open")
    aborted_idle_s: float = Field(
        default=60.0, gt=0, description="the same when the association broke: the sender may come back"
    )
    watchdog_s: float = Field(
        default=3600.0, gt=0, description="a series that is not complete after this long is reported and closed"
    )


class ChoiceSettings(Section):
    """Which series of a study are analysed."""

    analyse: Literal["best", "all"] = Field(
        default="best",
        description="best: the one with the best score of each study; all: every one that the rules take",
    )
    study_idle_s: float = Field(
        default=10.0, ge=0, description="a study is quiet for this long before its series is chosen; STAT does not wait"
    )
    rules: str = Field(default="", description="file of rules (TOML) in place of those that ship; empty: those")


class TlsSettings(Section):
    """DICOM TLS (BCP 195 profile of PS3.15 B.9 and later), on a port of its own."""

    enabled: bool = Field(default=False, description="listen with TLS")
    port: int = Field(default=2762, ge=0, le=65535, description="port with TLS")
    certificate: str = Field(default="", description="file of this node's certificate with its chain (PEM)")
    key: str = Field(default="", description="file of its private key (PEM)")
    client_ca: str = Field(
        default="", description="file of the CAs whose clients may connect (PEM); empty: clients need no certificate"
    )


class StowSettings(Section):
    """DICOMweb: STOW-RS in."""

    enabled: bool = Field(default=False, description="listen for STOW-RS")
    port: int = Field(default=8042, ge=0, le=65535, description="port of STOW-RS, on the address of receive.bind")
    token_file: str = Field(default="", description="file with one bearer token a line; empty: no token is asked for")
    tls: bool = Field(default=True, description="HTTPS with the certificate, key and client CAs of [tls]")
    max_requests: int = Field(default=8, ge=1, description="requests at a time; more are answered 503")
    max_instance_mb: float = Field(default=4096.0, gt=0, description="a larger instance is refused")


class CommitmentSettings(Section):
    """Storage Commitment Push Model SCP."""

    enabled: bool = Field(default=True, description="answer storage commitment requests")
    retry_s: float = Field(default=30.0, gt=0, description="pause before a report is tried again")
    give_up_after_s: float = Field(
        default=86400.0, gt=0, description="a report that finds nobody for this long is put aside"
    )


class DatabaseSettings(Section):
    """Where the truth lives."""

    url: str = Field(default="", description="SQLAlchemy URL; empty: covnode.db in the home folder")
    worker_url: str = Field(
        default="", description="the same for the worker, whose role cannot read identities; empty: url"
    )


class DeliverSettings(Section):
    """The way back."""

    first_retry_s: float = Field(default=5.0, gt=0, description="delay after the first failure; doubles each time")
    longest_retry_s: float = Field(
        default=3600.0, gt=0, le=86400, description="the delay grows no further than this, a day (86400) at most"
    )
    away_after_failures: int = Field(
        default=3, ge=1, description="a destination that so many attempts in a row did not reach is away: all wait"
    )
    longest_probe_s: float = Field(
        default=300.0, gt=0, le=86400, description="one that is away is asked ever more rarely, at least this often"
    )
    give_up_after_s: float = Field(
        default=259200.0, gt=0, description="a delivery that failed or waited for its destination this long is parked"
    )
    keep_order_s: float = Field(
        default=3600.0,
        ge=0,
        description="a delivery that the destination cannot store for now holds up later ones of its study this long",
    )
    associations: int = Field(
        default=4, ge=1, le=32, description="associations with one destination at a time, of each sender"
    )
    timeout_s: float = Field(default=60.0, gt=0, description="an answer of the peer is awaited this long")
    min_free_gb: float = Field(default=1.0, ge=0, description="with less room on the outbox's disk deliveries wait")


class PeerSettings(Section):
    """One other AE."""

    ae_title: AETitle
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    deliver: bool = Field(default=False, description="results are sent to this peer")
    count_by_find: bool = Field(
        default=False, description="ask this peer by C-FIND how many instances a series that it sends has"
    )
    accept_demonstration: bool = Field(
        default=False, description="also send probability and severity of models that are for demonstration only"
    )


class Settings(Section):
    """The whole configuration."""

    node: NodeSettings = NodeSettings()
    receive: ReceiveSettings = ReceiveSettings()
    tls: TlsSettings = TlsSettings()
    stow: StowSettings = StowSettings()
    commitment: CommitmentSettings = CommitmentSettings()
    completeness: CompletenessSettings = CompletenessSettings()
    choice: ChoiceSettings = ChoiceSettings()
    deidentify: DeidentifySettings = DeidentifySettings()
    database: DatabaseSettings = DatabaseSettings()
    files: FilesSettings = FilesSettings()
    objects: ObjectsSettings = ObjectsSettings()
    worker: WorkerSettings = WorkerSettings()
    quality: QualitySettings = QualitySettings()
    deliver: DeliverSettings = DeliverSettings()
    retention: RetentionSettings = RetentionSettings()
    peers: dict[str, PeerSettings] = Field(default_factory=dict)

    def of_worker(self) -> "Settings":
        """Return what the worker runs with: its own way into the database in place of the node's."""
        url = self.database.worker_url or self.database.url
        return self.model_copy(update={"database": DatabaseSettings(url=url)})

    def peers_called(self, ae_title: str) -> dict[str, PeerSettings]:
        """Return the peers of that AE title, by name."""
        return {name: peer for name, peer in self.peers.items() if peer.ae_title.strip() == ae_title.strip()}


def load_settings(home: Home) -> Settings:
    """Read the configuration of ``home`` and the environment.

    Raises
    ------
    ConfigurationError
        There is no file (run ``covnode init``), it is not TOML, or a key is unknown or has a bad value.
    """
    try:
        text = home.config.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"{home.config} does not exist. Run 'covnode init', or name another folder by --home or COVNODE_HOME."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{home.config} is not a text in UTF-8.") from None
    except OSError as error:
        raise ConfigurationError(f"{home.config} cannot be read: {error.strerror}.") from None
    return parse_settings(text, str(home.config), dict(os.environ))


def parse_settings(text: str, source: str, environment: dict[str, str] | None = None) -> Settings:
    """Parse and validate TOML ``text``; ``source`` names it in an error."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{source} is not valid TOML: {error}.") from None
    for name, value in (environment or {}).items():
        if name.startswith(ENVIRONMENT_PREFIX):
            path = [part.lower() for part in name.removeprefix(ENVIRONMENT_PREFIX).split("__")]
            section = values
            for part in path[:-1]:
                section = section.setdefault(part, {})
            section[path[-1]] = value
    return validated(values, source)


def validated(values: Mapping[str, object], source: str) -> Settings:
    """Make settings of plain values; ``source`` names them in an error.

    Raises
    ------
    ConfigurationError
        A key is unknown or has a bad value; the message names each.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise ConfigurationError(f"{source} is not a valid configuration:\n" + "\n".join(lines)) from None
