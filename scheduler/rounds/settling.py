"""Decisions become attempts and leases while their round still chooses: the database writes what was placed so far,
all in the round's one transaction."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from types import TracebackType

import structlog
from sqlalchemy.orm import Session

from infra.outbox import publish, wake
from infra.writing import WritingSession
from market.ids import new_ids
from market.messages import AttemptPlaced
from market.resources import Unit
from scheduler.placement import prices
from scheduler.placement.decisions import Decision
from scheduler.rounds.queued import Queued, wake_followers
from scheduler.tables import NodeState
from scheduler.waking import PLACE
from scheduler.work import grants, spot
from scheduler.work.grants import Grant, Standing

log = structlog.get_logger(__name__)


class Settling:
    """Of one round. settled: how many of its decisions were taken; placed: how many of these stood.

    Within the block `ahead` may be given decisions as they are made; nothing else may use the session meanwhile. A
    decision stands if its node is as it was when it was loaded. Otherwise it is dropped, and another round asked for.
    """

    def __init__(self, session: Session, jobs: Mapping[str, Queued], now: datetime) -> None:
        assert isinstance(session, WritingSession), "sessions come from Database"
        self._session, self._jobs, self._now = session, jobs, now
        self._lane: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None
        self._nodes: dict[str, Standing] = {}
        self.settled = self.placed = 0

    def __enter__(self) -> "Settling":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Wait for what is being written. Raises what the database refused, unless the round has failed already."""
        if self._lane is not None:
            self._lane.shutdown()
        if error is None:
            self._rest()

    def ahead(self, decisions: Sequence[Decision]) -> None:
        """Write them while the caller goes on choosing."""
        self._rest()
        self.take(decisions)
        self._lane = self._lane or ThreadPoolExecutor(1, "settling")
        self._writing = self._lane.submit(self._session.send_writes)

    def take(self, decisions: Sequence[Decision]) -> None:
        """Write them with what else the transaction writes."""
        self.lock({decision.node.node_id for decision in decisions})
        sound = [one for one in decisions if _still_true(one, self._nodes.get(one.node.node_id))]
        named = zip(sound, new_ids("att", len(sound)), new_ids("lease", len(sound)), strict=True)
        given = [(self._jobs[one.request.job_id], one, _grant(one, *ids)) for one, *ids in named]
        grants.write_grants(self._session, [grant for _, _, grant in given], self._now)
        spot.begin(self._session, [_spot_attempt(one, grant) for _, one, grant in given if one.request.spot])
        publish(self._session, *[_message(job, decision, grant, self._now) for job, decision, grant in given])
        wake_followers(self._session, [job for job, _, _ in given])
        self.settled += len(decisions)
        self.placed += len(sound)
        if len(sound) < len(decisions):
            wake(self._session, PLACE)
            log.info("placements_dropped", count=len(decisions) - len(sound))

    def lock(self, node_ids: Collection[str]) -> Collection[str]:
        """Lock these nodes; returns all that are. Whoever holds some and waits for others might wait in a ring: then
        those that somebody else is changing just now are left out."""
        wanted = set(node_ids) - self._nodes.keys()
        if wanted:
            # It rests on nothing that this round has written: that goes with the rest.
            with self._session.no_autoflush:
                self._nodes |= grants.lock_nodes(self._session, wanted, wait=not self._nodes)
        return self._nodes.keys()

    def _rest(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None


def _still_true(decision: Decision, node: Standing | None) -> bool:
    return node is not None and node.revision == decision.node.revision and node.state == NodeState.ONLINE


def _grant(decision: Decision, attempt_id: str, lease_id: str) -> Grant:
    return Grant(
        attempt_id=attempt_id,
        lease_id=lease_id,
        job_id=decision.request.job_id,
        node_id=decision.node.node_id,
        gpu_ids=decision.gpus,
        price_microusd_per_unit_hour=decision.price_microusd_per_unit_hour,
        components=prices.made_of(decision.offer, decision.request),
    )


def _spot_attempt(decision: Decision, grant: Grant) -> dict[str, object]:
    return {
        "attempt_id": grant.attempt_id,
        "job_id": grant.job_id,
        "bid_microusd_per_unit_hour": decision.request.bid,
        "asked_microusd_per_unit_hour": prices.asked_by(decision.offer, decision.request),
    }


def _message(job: Queued, decision: Decision, grant: Grant, now: datetime) -> AttemptPlaced:
    node = decision.node
    return AttemptPlaced(
        trace=job.trace,
        job_id=job.id,
        organization_id=job.organization_id,
        attempt_id=grant.attempt_id,
        attempt_number=job.attempts_placed + 1,
        lease_id=grant.lease_id,
        node_id=node.node_id,
        provider_id=node.provider_id,
        unit=Unit(job.unit),
        quantity_milli=job.quantity_milli,
        price_microusd_per_unit_hour=grant.price_microusd_per_unit_hour,
        discount_basis_points=decision.request.discount_basis_points,
        components=grant.components,
        simulated=node.simulated,
        granted_at=now,
        held_until=now + timedelta(seconds=job.funded_seconds),
    )
