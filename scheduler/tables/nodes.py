"""The supply side: providers, their nodes, the GPUs of each, and the pulse of the sweep that watches them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp
from scheduler.tables.columns import word


class NodeState(StrEnum):
    """Whether a node is heard. `gone` is lost for so long that its offers no longer count as any."""

    ONLINE = "online"
    LOST = "lost"
    GONE = "gone"


class Pool(StrEnum):
    """How the Ray pool of a node fares, as its agent says."""

    STARTING = "starting"
    READY = "ready"
    DOWN = "down"


class Provider(Base):
    """wallet_address: the Solana address payouts go to; without one its earnings wait.

    circuit_watts: what its GPUs may draw at once in a proof; None: all of them at full power.
    """

    __tablename__ = "providers"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    wallet_address: Mapped[str | None]
    circuit_watts: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(Timestamp)


class Node(Base):
    """One machine that runs the agent.

    free counters: what no lease holds. desired_version: counts the changes of what its agent should be running.
    revision: counts the changes that make a placement decided on older facts void. verified: each of its devices has
    proven itself (scheduler/proofs). barred: none of them may be leased. quarantined: its agent says that something is
    wrong with the whole of it (supply/health.py).
    """

    __tablename__ = "nodes"
    __table_args__ = (
        CheckConstraint("cpu_free_milli >= 0", "cpu_free"),
        CheckConstraint("memory_free_bytes >= 0", "memory_free"),
        CheckConstraint("disk_free_bytes >= 0", "disk_free"),
        Index("ix_nodes_provider_id", "provider_id"),
        # Heartbeats rewrite these rows all the time: room on the page keeps them off the indexes.
        {"postgresql_with": {"fillfactor": 50}},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    provider_id: Mapped[str] = mapped_column(ForeignKey("providers.id"))
    public_key: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    hostname: Mapped[str]
    state: Mapped[NodeState] = mapped_column(word(NodeState))
    pool: Mapped[Pool] = mapped_column(word(Pool))
    boot_id: Mapped[str | None]
    simulated: Mapped[bool]
    sandbox: Mapped[str]
    driver_version: Mapped[str | None]
    cuda_version: Mapped[str | None]
    agent_version: Mapped[str]
    cpu_total_milli: Mapped[int]
    cpu_free_milli: Mapped[int]
    memory_total_bytes: Mapped[int]
    memory_free_bytes: Mapped[int]
    disk_total_bytes: Mapped[int]
    disk_free_bytes: Mapped[int]
    desired_version: Mapped[int] = mapped_column(default=1)
    revision: Mapped[int] = mapped_column(default=1)
    verified: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    barred: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    quarantined: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    joined_at: Mapped[datetime] = mapped_column(Timestamp)
    last_seen_at: Mapped[datetime] = mapped_column(Timestamp)
    lost_at: Mapped[datetime | None] = mapped_column(Timestamp)


class Gpu(Base):
    """One device of a node. A UUID is the agent's claim, so it names a device only together with its node.

    mig_profile: such as 1g.10gb, of a slice of a card (MIG), whose model has it too; None: a whole card.
    present: still in the node's inventory; one that fell off keeps its row, because leases point to it.
    quarantined: its agent says that something is wrong with it, or no longer says so (mended_at: since when) and it has
    not proven itself since.
    """

    __tablename__ = "gpus"
    __table_args__ = (UniqueConstraint("node_id", "uuid"), Index("ix_gpus_uuid", "uuid"))

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"))
    uuid: Mapped[str]
    index: Mapped[int]
    model: Mapped[str]
    memory_bytes: Mapped[int]
    compute_capability: Mapped[str | None]
    pci_bus_id: Mapped[str | None]
    pci_device_id: Mapped[int | None]
    power_limit_milliwatts: Mapped[int | None]
    ecc: Mapped[bool | None]
    mig: Mapped[bool | None]
    mig_profile: Mapped[str | None]
    nvlinks: Mapped[int | None]
    quarantined: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    mended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    present: Mapped[bool] = mapped_column(default=True)


class SweepPulse(Base):
    """One row: when the sweep last ran, since when it runs without a gap, and since when it spares silent nodes.

    supply_at: when supply_intervals last followed what is offered.
    """

    __tablename__ = "sweep_pulse"
    __table_args__ = (CheckConstraint("id = 1", "one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    swept_at: Mapped[datetime] = mapped_column(Timestamp)
    resumed_at: Mapped[datetime] = mapped_column(Timestamp)
    braked_since: Mapped[datetime | None] = mapped_column(Timestamp)
    supply_at: Mapped[datetime | None] = mapped_column(Timestamp)


class PortalPulse(Base):
    """One row: when a portal last noted that it takes polls."""

    __tablename__ = "portal_pulse"
    __table_args__ = (CheckConstraint("id = 1", "one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    listened_at: Mapped[datetime] = mapped_column(Timestamp)
