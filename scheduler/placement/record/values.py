"""Facts and requests as lists of plain values, in the order of their fields."""

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from market.components import ComponentPrices
from market.resources import GpuRequest, Unit
from scheduler.placement.facts import NodeFacts, OfferFacts, Part
from scheduler.placement.queue.waiting import Account, Amounts, Waiting
from scheduler.placement.reclaiming import SpotWork
from scheduler.placement.requests import Request, Terms, Within

_node = attrgetter(*(field.name for field in fields(NodeFacts)))
_OFFER = tuple(field.name for field in fields(OfferFacts) if field.name != "parts")
_offer = attrgetter(*_OFFER)
_TERMS = tuple(field.name for field in fields(Terms) if field.compare)
_terms = attrgetter(*_TERMS)
_work = attrgetter(*(field.name for field in fields(SpotWork)))
_SETS = frozenset({"labels", "taints", "regions", "providers", "providers_denied", "tolerations"})
_REQUEST = tuple(field.name for field in fields(Request) if field.name not in {"job_id", "gpu", "terms"})
_request = attrgetter(*_REQUEST)


def plain(value: Any) -> Any:
    """What JSON does not know by itself: sets, sorted, so that equal facts are written equally."""
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"{value!r} has no plain form")


def node_values(node: NodeFacts) -> tuple[Any, ...]:
    values: tuple[Any, ...] = _node(node)
    return values


def node_of(values: Sequence[Any]) -> NodeFacts:
    return NodeFacts(**_named([field.name for field in fields(NodeFacts)], values))


def offer_values(offer: OfferFacts) -> list[Any]:
    parts = [[part.gpu, part.organization_id, part.free_milli] for part in offer.parts]
    return [parts, *_offer(offer)]


def offer_of(values: Sequence[Any]) -> OfferFacts:
    parts, *given = values
    named = _named(_OFFER, given) | {"parts": tuple(Part(*part) for part in parts)}
    if named.get("components") is not None:
        named["components"] = ComponentPrices(*named["components"])
    return OfferFacts(**named | {"unit": Unit(named["unit"])})


def request_values(request: Request) -> list[Any]:
    """But whose it is."""
    gpu = request.gpu
    cards = None if gpu is None else [gpu.count, gpu.model, gpu.memory_min_bytes, gpu.memory_max_bytes, gpu.mig]
    terms = {name: value for name, value in zip(_TERMS, _terms(request.terms), strict=True) if value}
    return [cards, terms, *_request(request)]


def request_of(job_id: str, values: Sequence[Any]) -> Request:
    cards, terms, *rest = values
    gpu = None
    if cards is not None:
        # A record that is older than profiles has four values.
        count, model, least, most, mig = (*cards, None)[:5]
        gpu = GpuRequest(count=count, model=model, memory_min_bytes=least, memory_max_bytes=most, mig=mig)
    named = _named(_REQUEST, rest)
    unit = None if named["unit"] is None else Unit(named["unit"])
    told = Terms(**_named(list(terms), list(terms.values())))
    return Request(job_id=job_id, gpu=gpu, terms=told, **named | {"unit": unit, "within": Within(named["within"])})


def waiting_values(one: Waiting, shape: int) -> list[Any]:
    return [
        one.request.job_id,
        shape,
        one.organization_id,
        one.submitted_at,
        one.priority,
        one.recovering,
        one.standing,
        one.passed_at,
        one.held,
    ]


def waiting_of(values: Sequence[Any], shapes: Sequence[Sequence[Any]]) -> Waiting:
    job_id, shape, whose, submitted_at, priority, recovering, standing, passed_at, held = values
    asked = request_of(job_id, shapes[shape])
    return Waiting(asked, whose, submitted_at, priority, recovering, standing, passed_at, tuple(held))


def work_values(work: SpotWork) -> tuple[Any, ...]:
    values: tuple[Any, ...] = _work(work)
    return values


def work_of(values: Sequence[Any]) -> SpotWork:
    return SpotWork(*values)


def account_values(account: Account) -> list[Any]:
    return [account.weight_milli, account.quota_gpus, account.ceiling_gpus]


def amounts_values(amounts: Amounts) -> list[int]:
    return [amounts.gpu_milli, amounts.cpu_milli, amounts.memory_bytes]


def _named(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Lists become what the field holds: a set, a version, or places in order.

    A record that is older than the newest fields has fewer values: those fields keep their defaults.
    """
    return {name: _back(name, value) for name, value in zip(names, values, strict=False)}


def _back(name: str, value: Any) -> Any:
    if name in _SETS:
        return frozenset(value)
    if name == "groups":
        return tuple((group, count) for group, count in value)
    return tuple(value) if isinstance(value, list) else value
