"""Wrong GraphQL is refused with the codes, places and remedies of REST; no message makes a websocket fall over."""

import json

import pytest
from graphql_cases import AFTER_GREETING, REQUESTS, SOCKET, TABLE, Document
from market_at_hand import MarketAtHand
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect
from wrong import Asked


def _amiss(market: MarketAtHand, case: Document) -> str:
    query = case.query
    for name, value in market.names.items():
        query = query.replace(f"{{{name}}}", value)
    body = {"query": query, "variables": dict(case.variables)}
    asked = Asked(200, case.code, "POST", "/graphql", body, case.where, case.meant, by=case.by)
    answer = market.ask(asked)
    if answer.status_code != 200 or not answer.json().get("errors"):
        return f"{answer.status_code} {answer.text[:300]}"
    error = answer.json()["errors"][0]
    extensions = error.get("extensions", {})
    if extensions.get("code") != case.code:
        return f"{error}, not {case.code}"
    if case.path is not None and error["path"] != [case.path]:
        return f"its path is {error['path']}"
    return asked.amiss_in(extensions) or ("" if len(error["message"]) < 2100 else "its message has no bound")


@pytest.mark.parametrize("group", TABLE)
def test_every_wrong_document_is_refused_as_it_says(market: MarketAtHand, group: str) -> None:
    with market.unchanged():
        amiss = {name: _amiss(market, case) for name, case in TABLE[group].items()}
        assert {name: found for name, found in amiss.items() if found} == {}


def test_what_is_no_request_is_a_problem(market: MarketAtHand) -> None:
    amiss = {}
    with market.unchanged():
        for name, (status, code, media_type, body) in REQUESTS.items():
            asked = Asked(status, code, "POST", "/graphql", body, headers={"Content-Type": media_type})
            answer = market.ask(asked)
            amiss[name] = asked.amiss(answer.status_code, answer.headers["content-type"], answer.json())
        get = Asked(405, "method_not_allowed", "GET", "/graphql?query={__typename}")
        answer = market.ask(get)
        amiss["asking by GET"] = get.amiss(answer.status_code, answer.headers["content-type"], answer.json())
        assert {name: found for name, found in amiss.items() if found} == {}


def _closed(socket: WebSocketTestSession) -> bool:
    """Whether the socket closes with a code of the protocol's own; an error message counts as an answer."""
    try:
        message = socket.receive_json()
    except WebSocketDisconnect as closed:
        return 4400 <= closed.code < 4500
    return bool(message["type"] == "error" and message["payload"][0]["extensions"]["code"])


def test_a_websocket_closes_at_nonsense(market: MarketAtHand, capfd: pytest.CaptureFixture[str]) -> None:
    protocols = ["graphql-transport-ws"]
    greeting = {"type": "connection_init", "payload": {"authorization": f"Bearer {market.tokens['customer']}"}}
    with market.unchanged():
        for name, message in SOCKET.items():
            with market.client.websocket_connect("/graphql", protocols) as socket:
                socket.send_text(message)
                assert _closed(socket), name
        for name, message in AFTER_GREETING.items():
            with market.client.websocket_connect("/graphql", protocols) as socket:
                socket.send_text(json.dumps(greeting))
                assert socket.receive_json()["type"] == "connection_ack"
                socket.send_text(message)
                assert _closed(socket), name
        with market.client.websocket_connect("/graphql", protocols) as socket:
            socket.send_bytes(b"\xff\x00")
            assert _closed(socket)
        with pytest.raises(WebSocketDisconnect), market.client.websocket_connect("/graphql", ["mqtt"]) as socket:
            socket.receive_json()
        with pytest.raises(WebSocketDisconnect), market.client.websocket_connect("/v1/jobs", protocols) as socket:
            socket.receive_json()
    assert "Traceback" not in capfd.readouterr().err
