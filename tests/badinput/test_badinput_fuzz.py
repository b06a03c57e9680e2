"""Requests made from our own OpenAPI document, fitting it and not: no 5xx but what is promised, errors as promised."""

import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from market_at_hand import MarketAtHand

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi import checks

SOAK = bool(os.environ.get("GRIDBAY_SOAK"))
EXAMPLES = 300 if SOAK else 3
CHECKS = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
WAITING = frozenset({"poll"})
"""It waits for as long as it is asked to, which is what it is for; its wrong inputs are in the corpus."""
WHOSE = {"customer": "customer", "provider": "provider", "operator": "operator", "agent": "agent", "join": "joiner"}


@pytest.fixture(scope="module")
def operations(market: MarketAtHand) -> list[Any]:
    schema = schemathesis.openapi.from_dict(market.world.app.openapi())
    found = [result.ok() for result in schema.get_all_operations()]
    return [operation for operation in found if operation.definition.raw["operationId"] not in WAITING]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "not fitting"])
@pytest.mark.filterwarnings("ignore")
def test_nothing_is_answered_otherwise_than_the_document_says(
    market: MarketAtHand, operations: list[Any], mode: Any
) -> None:
    amiss: list[str] = []
    count = 0
    for operation in operations:
        strategy = operation.as_strategy(generation_mode=mode)

        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
            derandomize=not SOAK, suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=strategy)
        def asked(case: Any) -> None:
            nonlocal count
            count += 1
            amiss.extend(_amiss(market, case))

        # What takes no input cannot be asked wrongly.
        with suppress(Unsatisfiable):
            asked()
    assert amiss == []
    assert count >= len(operations)


def _amiss(market: MarketAtHand, case: Any) -> Iterator[str]:
    raw = case.operation.definition.raw
    schemes = [name for item in raw.get("security", ()) for name in item]
    token = market.tokens[WHOSE[schemes[0].removesuffix("Token")]] if schemes else ""
    asked = case.as_transport_kwargs(base_url="http://portal.test")
    headers = {**asked.get("headers", {}), "Authorization": f"Bearer {token}"}
    request = {name: asked[name] for name in ("params", "json", "data", "cookies") if asked.get(name) is not None}
    answer = market.client.request(asked["method"], asked["url"], headers=headers, **request)
    if answer.status_code in (500, 502, 504):
        yield f"{raw['operationId']}: {answer.status_code} to {asked}"
    try:
        case.validate_response(answer, checks=CHECKS)
    except Exception as error:
        yield f"{raw['operationId']}: {error}"[:600]
