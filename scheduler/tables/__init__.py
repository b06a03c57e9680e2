"""The scheduler's tables, by noun; importing this module is enough to know them all."""

from scheduler.tables.changes import FACTS, market_changes
from scheduler.tables.discounts import OrganizationDiscount
from scheduler.tables.files import LogSegment, OutputFile, Workdir
from scheduler.tables.health import GpuMinute, NodeCondition
from scheduler.tables.jobs import LIVE, Attempt, Job
from scheduler.tables.leases import Lease, LeaseComponents, LeaseGpu
from scheduler.tables.nodes import Gpu, Node, NodeState, Pool, PortalPulse, Provider, SweepPulse
from scheduler.tables.offers import Offer
from scheduler.tables.proofs import Benchmark, CardRate, ProofChallenge, ProofStanding
from scheduler.tables.queue import OrganizationShare, QueueMark
from scheduler.tables.rounds import PlacementRound
from scheduler.tables.spot import SpotAttempt
from scheduler.tables.supply import SupplyInterval
from scheduler.tables.terms import NodeRecord, NodeTerms

__all__ = [
    "FACTS",
    "LIVE",
    "Attempt",
    "Benchmark",
    "CardRate",
    "Gpu",
    "GpuMinute",
    "Job",
    "Lease",
    "LeaseComponents",
    "LeaseGpu",
    "LogSegment",
    "Node",
    "NodeCondition",
    "NodeRecord",
    "NodeState",
    "NodeTerms",
    "Offer",
    "OrganizationDiscount",
    "OrganizationShare",
    "OutputFile",
    "PlacementRound",
    "Pool",
    "PortalPulse",
    "ProofChallenge",
    "ProofStanding",
    "Provider",
    "QueueMark",
    "SpotAttempt",
    "SupplyInterval",
    "SweepPulse",
    "Workdir",
    "market_changes",
]
