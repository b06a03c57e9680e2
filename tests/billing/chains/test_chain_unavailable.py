"""Whatever an RPC does instead of answering is one error, which says who failed and keeps its URL's secrets."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from local_net import LocalNet
from solders.keypair import Keypair

from billing.chains.port import ChainError, ChainUnavailable
from billing.chains.solana import SolanaChain
from billing.chains.transactions import memo_anchor

BLOCKHASH = str(Keypair().pubkey())


@contextmanager
def rpc_that_answers(reply: bytes | None) -> Iterator[str]:
    """A server that gives the same bytes to every request; None: it takes the request and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            taken.append(connection)
            connection.recv(65536)
            if reply is not None:
                connection.sendall(reply)
                connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/?api-key=SECRET"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in taken:
            connection.close()


def http(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def rpc_error(code: int, message: str) -> bytes:
    error = {"jsonrpc": "2.0", "id": 0, "error": {"code": code, "message": message}}
    return http("200 OK", json.dumps(error).encode())


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"",
        b"not http at all\r\n\r\n",
        http("429 Too Many Requests", b"slow down"),
        http("502 Bad Gateway", b"<html>"),
        http("200 OK", b"<html>a captive portal</html>"),
        http("200 OK", b'{"jsonrpc":"2.0","id":0,"result":"no number"}'),
        http("200 OK", b'{"jsonrpc":"2.0","id":0,"result":{"context":{"slot":1},"value":-5}}'),
        rpc_error(-32005, "Node is behind by 42 slots"),
        rpc_error(-32429, "rate limited"),
        rpc_error(-32603, "Internal error"),
    ],
)
def test_every_way_not_to_answer_is_unavailable(reply: bytes | None) -> None:
    with rpc_that_answers(reply) as url:
        chain = SolanaChain([url], timeout=0.3 if reply is None else 5)
        anchor = memo_anchor(payer=Keypair(), memo="m", blockhash=BLOCKHASH)
        for call in (
            chain.latest_blockhash,
            chain.finalized_block_height,
            lambda: chain.send(anchor.wire),
            lambda: chain.is_expired_everywhere(anchor.signature, 5),
        ):
            with pytest.raises(ChainUnavailable) as raised:
                call()
            assert isinstance(raised.value, ChainError)
            assert "127.0.0.1" in str(raised.value)
            assert "SECRET" not in str(raised.value)


def test_nobody_listening_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ChainUnavailable):
        SolanaChain([f"http://127.0.0.1:{port}"]).sol_balance(BLOCKHASH)


def test_an_rpc_that_answers_about_another_transaction_is_not_believed() -> None:
    other = memo_anchor(payer=Keypair(), memo="other", blockhash=BLOCKHASH).signature
    answer = json.dumps({"jsonrpc": "2.0", "id": 0, "result": other}).encode()
    with rpc_that_answers(http("200 OK", answer)) as url, pytest.raises(ChainUnavailable, match=other):
        SolanaChain([url]).send(memo_anchor(payer=Keypair(), memo="mine", blockhash=BLOCKHASH).wire)


def test_expiry_is_not_proven_while_one_rpc_is_silent(nets: Callable[[str], LocalNet]) -> None:
    net = nets("chain")
    net.blocks(200)
    unsent = memo_anchor(payer=net.treasury_key, memo="m", blockhash=BLOCKHASH).signature
    known = net.chain.send(net.deposit(net.wallet(microusd=1), 1))
    with rpc_that_answers(b"") as silent:
        chain = SolanaChain([net.url, silent])
        with pytest.raises(ChainUnavailable):
            chain.is_expired_everywhere(unsent, 1)
        # one RPC that knows it is enough to know
        assert not chain.is_expired_everywhere(known, 1)


@pytest.mark.parametrize("urls", [[], ["ftp://127.0.0.1"], ["127.0.0.1:8899"]])
def test_a_chain_needs_urls_it_can_ask(urls: list[str]) -> None:
    with pytest.raises(ValueError, match="Solana RPC URL"):
        SolanaChain(urls)
