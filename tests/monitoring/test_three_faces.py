"""The command line, the operators' GraphQL and Prometheus tell the same numbers of the same rows."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from market_history import History
from prometheus_client.parser import text_string_to_metric_families
from served_portal import ServedPortal

from gridbay.cli.main import main
from infra.database import Database
from market.states import Reason
from monitoring.measures import PPM

GRAPH = """{
  gmv(by: [MODEL]) { keys { model } usageLines gmv { microusd } fee { microusd } takeRatePpm }
  utilization(by: [MODEL]) { keys { model } unit leasedUnitMs offeredUnitMs utilizationPpm }
  queueWait(by: [MODEL]) { keys { model } jobs waitP50Ms waitP90Ms waitP99Ms }
  outcomes(by: []) { reason jobs }
}"""
BIG = 2**53 - 1_000_003


@pytest.fixture
def past(database: Database) -> None:
    with database.transaction() as session:
        history = History(session, datetime.now(UTC) - timedelta(hours=3))
        cards, small = history.node("prv_a", "H100", 2), history.node("prv_b", "L4", 1)
        toy = history.node("prv_a", "H100", 1, simulated=True)
        for node, model, milli in ((cards, "H100", 2000), (small, "L4", 1000), (toy, "H100", 1000)):
            history.supply(node, model, milli, 0, 5400.5)
        history.job("org_a", node_id=cards, placed=1.25, ended=1801.5, milli=2000, amount=BIG, fee=450_359_962_687_949)
        history.job("org_b", node_id=cards, placed=2, ended=77, amount=1_000_003, fee=50_001, rounding=1)
        history.job("org_b", node_id=small, placed=30, ended=31, amount=7, fee=0, reason=Reason.FAILED_EXIT_CODE)
        history.job("org_b", node_id=toy, placed=30, ended=31, amount=0)
        history.job("org_a", ended=9, reason=Reason.STOPPED_BY_USER)


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, str]]:
    with pytest.raises(SystemExit) as ended:
        main(["analytics", *words, "--since", "24h", "-o", "csv"])
    assert ended.value.code == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def by_label(families: dict[str, Any], name: str, *labels: str, of: int = 1) -> dict[tuple[str, ...], int]:
    """The samples of a metric, each so many times: a whole number, and exactly that."""
    found = {}
    for sample in families[name].samples:
        whole = round(sample.value * of)
        assert whole / of == sample.value
        found[tuple(sample.labels[label] for label in labels)] = whole
    return found


def test_three_faces_tell_the_same(
    past: None, served: ServedPortal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRIDBAY_URL", served.url)
    monkeypatch.setenv("GRIDBAY_TOKEN", served.token)
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    asked = GRAPH.replace("(by:", f'(over: {{since: "{since}"}}, by:')
    answer = httpx.post(f"{served.url}/ops/graphql", json={"query": asked}, headers=served.headers, timeout=60)
    assert answer.status_code == 200 and "errors" not in answer.json(), answer.text
    graph = json.loads(answer.text)["data"]
    scraped = httpx.get(f"{served.url}/ops/v1/metrics", headers=served.headers, timeout=60)
    metrics = {family.name: family for family in text_string_to_metric_families(scraped.text)}

    gmv = {
        (row["model"],): [
            int(row[name] or -1) for name in ("usage_lines", "gmv_microusd", "fee_microusd", "take_rate_ppm")
        ]
        for row in typed(capsys, "gmv", "--by", "model")
    }
    assert gmv["H100",][1] == BIG + 1_000_003 == 2**53
    assert gmv == {
        (row["keys"]["model"],): [
            row["usageLines"],
            row["gmv"]["microusd"],
            row["fee"]["microusd"],
            -1 if row["takeRatePpm"] is None else row["takeRatePpm"],
        ]
        for row in graph["gmv"]
    }
    for place, (name, of) in enumerate(
        (("usage_lines", 1), ("gmv_microusd", 1), ("fee_microusd", 1), ("take_rate_ratio", PPM))
    ):
        assert by_label(metrics, f"gridbay_day_{name}", "model", of=of) == {key: row[place] for key, row in gmv.items()}

    times = {
        (row["model"], row["unit"]): [
            int(row[name]) for name in ("leased_unit_ms", "offered_unit_ms", "utilization_ppm")
        ]
        for row in typed(capsys, "utilization", "--by", "model")
    }
    assert times["L4", "gpu"] == [1000, 5_400_500, 185]
    assert times == {
        (row["keys"]["model"], row["unit"]): [row["leasedUnitMs"], row["offeredUnitMs"], row["utilizationPpm"]]
        for row in graph["utilization"]
    }
    for place, (name, of) in enumerate(
        (("leased_unit_seconds", 1000), ("offered_unit_seconds", 1000), ("utilization_ratio", PPM))
    ):
        expected = {key: row[place] for key, row in times.items()}
        assert by_label(metrics, f"gridbay_day_{name}", "model", "unit", of=of) == expected

    waits = {row["model"]: row for row in typed(capsys, "queue-wait", "--by", "model")}
    quantiles = by_label(metrics, "gridbay_day_queue_wait_seconds", "model", "quantile", of=1000)
    for row in graph["queueWait"]:
        told = waits[row["keys"]["model"]]
        assert int(told["jobs"]) == row["jobs"]
        for quantile, number in (("0.5", 50), ("0.9", 90), ("0.99", 99)):
            figure = int(told[f"wait_p{number}_ms"])
            assert figure == row[f"waitP{number}Ms"] == quantiles[told["model"], quantile]
    assert len(waits) == len(graph["queueWait"]) == 2

    ends = {(row["reason"],): int(row["jobs"]) for row in typed(capsys, "outcomes")}
    assert ends == {("succeeded",): 2, ("failed:exit_code",): 1, ("stopped:by_user",): 1}
    assert ends == {(row["reason"],): row["jobs"] for row in graph["outcomes"]}
    assert ends == by_label(metrics, "gridbay_day_job_outcomes", "reason")


def test_only_operators_are_told(served: ServedPortal) -> None:
    for path in ("analytics/gmv", "metrics", "jobs/job_x/trace"):
        assert httpx.get(f"{served.url}/ops/v1/{path}").status_code == 401
    assert httpx.post(f"{served.url}/ops/graphql", json={"query": "{ __typename }"}).status_code == 401
    httpx.get(f"{served.url}/no/such/job_y")
    scraped = httpx.get(f"{served.url}/ops/v1/metrics", headers=served.headers, timeout=60).text
    (requests,) = [
        f for f in text_string_to_metric_families(scraped) if f.name == "gridbay_http_request_duration_seconds"
    ]
    seen = {(s.labels["route"], s.labels["status"]) for s in requests.samples}
    assert {("/ops/v1/jobs/{job_id}/trace", "401"), ("unmatched", "404"), ("/ops/graphql", "401")} <= seen
    assert "job_x" not in scraped and "job_y" not in scraped, "what people ask for is no label"
