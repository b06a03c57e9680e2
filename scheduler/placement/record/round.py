"""One round on record. A record follows the one before it: of the market it says what changed since; the first of a
chain says all. Its digest covers the one before it, so that no record can be changed or left out unseen."""

import hashlib
import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scheduler.placement.decisions import Choice
from scheduler.placement.engine import Engine
from scheduler.placement.facts import NodeFacts, OfferFacts
from scheduler.placement.queue.competition import Competition
from scheduler.placement.queue.turns import Turns
from scheduler.placement.queue.waiting import Account, Amounts
from scheduler.placement.reclaiming import Reclaim, SpotWork
from scheduler.placement.record import values
from scheduler.placement.record.rules_version import rules_digest
from scheduler.placement.requests import Request, shape_of
from scheduler.placement.snapshot import Snapshot

DIGEST_BYTES = 16
PACKED_FROM = 4096
"""Shorter records are not compressed: beginning to costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a round was told. recent: None where it is that of the record before. works: the spot work that may have to
    make room."""

    seed: str
    asked: Sequence[Request] | Competition
    recent: Sequence[Request] | None
    works: Sequence[SpotWork] = ()


@dataclass(frozen=True, slots=True)
class Came:
    """What a round came to: who is placed, and what makes room for others."""

    choice: Choice
    reclaims: Sequence[Reclaim] = ()


def written(told: Told, came: Came, snapshot: Snapshot, changed: Collection[int] | None) -> bytes:
    """The record's body. changed: the nodes that differ from the record before; None: all are told."""
    shapes = _Shapes()
    asked = told.asked
    body = {
        "rules": rules_digest(),
        "seed": told.seed,
        "all": changed is None,
        "market": _market(snapshot, range(len(snapshot.nodes)) if changed is None else sorted(changed)),
        "recent": None if told.recent is None else [shapes.number(one) for one in told.recent],
        "came": _competition(asked, shapes)
        if isinstance(asked, Competition)
        else [[one.job_id, shapes.number(one)] for one in asked],
        "spot": [values.work_values(work) for work in told.works],
        "decided": decided(came),
        "shapes": shapes.values,
    }
    text = json.dumps(body, default=values.plain, separators=(",", ":")).encode()
    return text if len(text) < PACKED_FROM else zlib.compress(text, 1)


def decided(came: Came) -> list[list[Any]]:
    """What a round came to, as it is written: each decision, those that wait and whether waiting helps, what makes room
    and for whom."""
    choice = came.choice
    placed = [
        [one.request.job_id, one.member, one.offer.offer_id, list(one.gpus), one.price_microusd_per_unit_hour]
        for one in choice.decisions
    ]
    waits = ([one.request.job_id, one.waits] for one in choice.unplaced)
    return [*placed, *waits, *([one.work.attempt_id, "reclaimed", one.request.job_id] for one in came.reclaims)]


def digest(before: str, body: bytes) -> str:
    """The digest of a record after that one ("" for a chain's first)."""
    return hashlib.blake2b(before.encode() + body, digest_size=DIGEST_BYTES).hexdigest()


@dataclass(slots=True)
class Replayed:
    """A round decided again. recorded: what its record says it came to; again: what it comes to. same_rules: it was
    decided by the code that decides it again."""

    recorded: list[list[Any]]
    again: list[list[Any]]
    seed: str
    asked: int
    offers: int
    same_rules: bool = True

    @property
    def agrees(self) -> bool:
        return self.recorded == self.again


class Replay:
    """Follows a chain of records from its first one."""

    def __init__(self) -> None:
        self._nodes: dict[int, NodeFacts] = {}
        self._offers: dict[int, OfferFacts] = {}
        self._recent: list[Request] = []

    def follow(self, body: bytes) -> Mapping[str, Any]:
        """Take in what a record says of the market."""
        told: Mapping[str, Any] = json.loads(body if body.startswith(b"{") else zlib.decompress(body))
        if told["all"]:
            self._nodes, self._offers = {}, {}
        self._nodes |= {place: values.node_of(node) for place, *node in told["market"]["nodes"]}
        self._offers |= {place: values.offer_of(offer) for place, *offer in told["market"]["offers"]}
        if told["recent"] is not None:
            self._recent = [values.request_of("", told["shapes"][shape]) for shape in told["recent"]]
        return told

    def decide(self, body: bytes) -> Replayed:
        """Take it in and decide the round again, by an engine that has seen nothing before."""
        told = self.follow(body)
        came, shapes = told["came"], told["shapes"]
        snapshot = Snapshot(
            [self._nodes[place] for place in sorted(self._nodes)],
            [self._offers[place] for place in sorted(self._offers)],
        )
        asked: Sequence[Request] | Turns
        if isinstance(came, list):
            asked = [values.request_of(job_id, shapes[shape]) for job_id, shape in came]
        else:
            asked = _competed(came, shapes).turns()
        engine = Engine()
        choice = engine.choose(snapshot, asked, told["seed"], self._recent)
        works = [values.work_of(work) for work in told.get("spot", ())]
        reclaims = engine.reclaim(choice.unplaced, works) if works else ()
        again = json.loads(json.dumps(decided(Came(choice, reclaims))))
        count = len(came) if isinstance(came, list) else len(came["waiting"])
        same = told.get("rules") == rules_digest()
        return Replayed(told["decided"], again, told["seed"], count, len(snapshot.offers), same)


class _Shapes:
    """Each shape of request is written once."""

    def __init__(self) -> None:
        self.values: list[list[Any]] = []
        self._numbers: dict[tuple[object, ...], int] = {}

    def number(self, request: Request) -> int:
        key = shape_of(request)
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.values)
            self.values.append(values.request_values(request))
        return found


def _market(snapshot: Snapshot, places: Collection[int]) -> dict[str, list[list[Any]]]:
    """By their places."""
    nodes = [[place, *values.node_values(snapshot.nodes[place])] for place in places]
    at = np.flatnonzero(np.isin(snapshot.node_of, np.fromiter(places, np.intp, len(places)))).tolist()
    return {"nodes": nodes, "offers": [[place, *values.offer_values(snapshot.offers[place])] for place in at]}


def _competition(one: Competition, shapes: _Shapes) -> dict[str, Any]:
    return {
        "waiting": [values.waiting_values(each, shapes.number(each.request)) for each in one.waiting],
        "beyond": [values.waiting_values(each, shapes.number(each.request)) for each in one.beyond],
        "accounts": {whose: values.account_values(account) for whose, account in one.accounts.items()},
        "used": {whose: values.amounts_values(amounts) for whose, amounts in one.used.items()},
        "capacity": values.amounts_values(one.capacity),
        "now": one.now,
        "running": {node_id: list(work) for node_id, work in one.running.items()},
    }


def _competed(came: Mapping[str, Any], shapes: Sequence[Sequence[Any]]) -> Competition:
    return Competition(
        tuple(values.waiting_of(one, shapes) for one in came["waiting"]),
        tuple(values.waiting_of(one, shapes) for one in came["beyond"]),
        {whose: Account(*account) for whose, account in came["accounts"].items()},
        {whose: Amounts(*amounts) for whose, amounts in came["used"].items()},
        Amounts(*came["capacity"]),
        came["now"],
        {node_id: [(began_at, gpus) for began_at, gpus in work] for node_id, work in came["running"].items()},
    )
