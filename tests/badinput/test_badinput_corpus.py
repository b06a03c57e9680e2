"""The corpus is large enough; every code of ours is in the one list, and docs/errors.md is that list."""

from pathlib import Path

import archive_cases
import cli_cases
import graphql_cases
import http_cases
import job_yaml_cases
import rest_cases
from market_at_hand import MarketAtHand

from gridbay.cli.main import main
from gridbay.processes.contexts import TABLES
from market.error_codes import CODES, FIELD_CODES, OF_A_MARKET, Kind, usual_remedy
from market.errors import MarketError
from portal_api import error_page
from portal_api.problems import STATUSES
from provider_agent.attempts import lifecycle

LOADED = (TABLES, main, lifecycle)
CASES_MIN = 200
OURS = ("market.", "infra.", "scheduler.", "billing.", "monitoring.", "portal_api.", "provider_agent.", "gridbay.")


def test_there_are_as_many_wrong_inputs_as_were_promised() -> None:
    tables = (rest_cases.TABLE, graphql_cases.TABLE, job_yaml_cases.TABLE, archive_cases.TABLE)
    counts = [sum(len(group) for group in table.values()) for table in tables]
    more = (graphql_cases.REQUESTS, graphql_cases.SOCKET, graphql_cases.AFTER_GREETING, http_cases.TABLE)
    typed = (cli_cases.FLAGS, cli_cases.FILES, cli_cases.MARKETS)
    assert min(counts) >= 30
    assert sum(counts) + sum(map(len, more)) + sum(map(len, typed)) >= CASES_MIN


def test_every_refusal_is_in_the_list() -> None:
    for refusal in _refusals(MarketError):
        assert refusal.code in CODES, f"{refusal.__name__}: tell market/error_codes.py what {refusal.code} means"
        assert refusal.kind is CODES[refusal.code].kind, refusal
        assert usual_remedy(refusal.code), refusal.code
    assert set(STATUSES) == set(Kind)
    assert all(meaning.means.endswith(".") and meaning.remedy for meaning in CODES.values())


def test_the_page_of_errors_is_the_list() -> None:
    page = Path(error_page.__file__).parent.parent / "docs" / "errors.md"
    assert page.read_text() == error_page.markdown(), "run: python -m portal_api.error_page > docs/errors.md"


def test_a_problems_type_leads_to_what_it_means(market: MarketAtHand) -> None:
    address, _, anchor = market.client.get("/v1/nothing").json()["type"].partition("#")
    answer = market.client.get(address)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/html")
    for code in OF_A_MARKET:
        assert f"<dt id={code}>" in answer.text
    assert anchor in OF_A_MARKET
    assert all(code in answer.text for code in FIELD_CODES)


def _refusals(kind: type[MarketError]) -> list[type[MarketError]]:
    below = [child for child in kind.__subclasses__() if child.__module__.startswith(OURS)]
    return below + [inner for child in below for inner in _refusals(child)]
