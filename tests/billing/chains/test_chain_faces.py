"""Several faces of one chain: one that is dead, hangs or lags costs time, never a wrong belief about money."""

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from typing import Any

import pytest
from local_net import LocalNet

from billing.chains.port import ChainRefused, ChainUnavailable, SignatureState
from billing.chains.solana import SolanaChain
from billing.chains.transactions import memo_anchor

DEAD = "http://127.0.0.1:9"
TIMEOUT_SECONDS = 3.0


class Face:
    """A second face of a chain: passes requests on, or hangs, or answers as the chain was (lags)."""

    def __init__(self, net: LocalNet) -> None:
        self.hangs = False
        self.lags = False
        self.asked: list[str] = []
        self.connections = 0
        self.open: list[socket.socket] = []
        self._released = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, net))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def answer(self, net: LocalNet, body: bytes) -> bytes | None:
        """None: the connection breaks off."""
        request = json.loads(body)
        self.asked.append(request["method"])
        if self.hangs:
            self._released.wait(60)
            return None
        if self.lags:
            lagging: dict[str, Any] = {
                "getBlockHeight": 1,
                "getSignatureStatuses": {"context": {"slot": 1}, "value": [None]},
                "getTransaction": None,
            }
            if request["method"] in lagging:
                answer = {"jsonrpc": "2.0", "id": request["id"], "result": lagging[request["method"]]}
                return json.dumps(answer).encode()
        passed_on = urllib.request.Request(net.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(passed_on, timeout=10) as response:
            return bytes(response.read())

    def drop_connections(self) -> None:
        for connection in self.open:
            with suppress(OSError):  # over by itself
                connection.shutdown(socket.SHUT_RDWR)
        self.open.clear()

    def close(self) -> None:
        self._released.set()
        self.drop_connections()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def _handler(face: Face, net: LocalNet) -> type[BaseHTTPRequestHandler]:
    class Rpc(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            face.connections += 1
            face.open.append(self.connection)

        def do_POST(self) -> None:
            answer = face.answer(net, self.rfile.read(int(self.headers["Content-Length"])))
            if answer is None:
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Rpc


@pytest.fixture
def face(net: LocalNet) -> Iterator[Face]:
    made = Face(net)
    yield made
    made.close()


def chain(*urls: str) -> SolanaChain:
    return SolanaChain(urls, timeout=TIMEOUT_SECONDS)


def test_many_questions_go_over_one_connection_and_a_fork_has_its_own(net: LocalNet, face: Face) -> None:
    one = chain(face.url)
    heights = {one.finalized_block_height() for _ in range(3)}
    assert (len(heights), face.connections) == (1, 1)
    child = get_context("fork").Process(target=one.finalized_block_height)
    child.start()
    child.join(20)
    assert (child.exitcode, face.connections) == (0, 2)
    one.finalized_block_height()
    assert face.connections == 2


def test_a_face_that_closed_its_connection_is_asked_over_another(net: LocalNet, face: Face) -> None:
    one = chain(face.url)
    one.finalized_block_height()
    face.drop_connections()
    assert one.finalized_block_height() == net.chain.finalized_block_height()
    assert face.connections == 2


def test_a_read_goes_on_to_the_next_face_and_stays_there(net: LocalNet, face: Face) -> None:
    both = chain(DEAD, face.url)
    height = both.finalized_block_height()
    assert height == net.chain.finalized_block_height()
    face.hangs = True
    three = chain(DEAD, face.url, net.url)
    assert three.finalized_block_height() == height
    asked = len(face.asked)
    three.finalized_block_height()
    assert len(face.asked) == asked, "the face that hung is not asked first again"


def test_no_face_at_all_is_unavailable_and_names_each(face: Face) -> None:
    face.hangs = True
    with pytest.raises(ChainUnavailable, match=r"127.0.0.1:9\b.*did not answer"):
        chain(DEAD, face.url).latest_blockhash()


@pytest.mark.parametrize("broken", ["dead", "hanging"])
def test_money_moves_while_one_face_of_two_is_broken(net: LocalNet, face: Face, broken: str) -> None:
    face.hangs = broken == "hanging"
    both = chain(DEAD if broken == "dead" else face.url, net.url)
    customer = net.wallet(microusd=5)
    signature = both.send(net.deposit(customer, 5))
    net.finalize()
    assert both.signature_statuses([signature])[0].state == SignatureState.FINALIZED
    transaction = both.read_transaction(signature)
    assert transaction is not None
    assert transaction.token_delta(net.treasury, net.mint) == 5
    assert both.token_balance(str(customer.pubkey()), net.mint) == 0


def test_every_face_is_told_of_a_transaction(net: LocalNet, face: Face) -> None:
    chain(net.url, face.url).send(net.deposit(net.wallet(microusd=1), 1))
    assert face.asked == ["sendTransaction"]


def test_a_transaction_that_every_face_refuses_is_refused(net: LocalNet, face: Face) -> None:
    forged = bytearray(net.deposit(net.wallet(microusd=1), 1))
    forged[5] ^= 1
    with pytest.raises(ChainRefused, match="signature verification"):
        chain(net.url, face.url).send(bytes(forged))
    with pytest.raises(ChainUnavailable):
        chain(net.url, DEAD).send(bytes(forged))


def test_one_face_alone_never_proves_that_a_transaction_is_gone(net: LocalNet, face: Face) -> None:
    blockhash = net.chain.latest_blockhash()
    unsent = memo_anchor(payer=net.treasury_key, memo="m", blockhash=blockhash.value)
    gone = (unsent.signature, blockhash.last_valid_block_height)
    net.blocks(200)
    assert chain(net.url, face.url).is_expired_everywhere(*gone)
    assert chain(net.url, DEAD, face.url).is_expired_everywhere(*gone), "two of three are enough"
    with pytest.raises(ChainUnavailable):
        chain(net.url, DEAD).is_expired_everywhere(*gone)
    with pytest.raises(ChainUnavailable):
        chain(DEAD, net.url, "http://127.0.0.1:10").is_expired_everywhere(*gone)
    face.hangs = True
    with pytest.raises(ChainUnavailable):
        chain(net.url, face.url).is_expired_everywhere(*gone)


def test_a_face_that_lags_hides_nothing_that_another_knows(net: LocalNet, face: Face) -> None:
    face.lags = True
    blockhash = net.chain.latest_blockhash()
    signed = memo_anchor(payer=net.treasury_key, memo="m", blockhash=blockhash.value)
    both = chain(face.url, net.url)
    both.send(signed.wire)
    net.blocks(300)
    assert both.signature_statuses([signed.signature])[0].state == SignatureState.UNKNOWN, "no proof of absence"
    assert not both.is_expired_everywhere(signed.signature, blockhash.last_valid_block_height)
    unsent = memo_anchor(payer=net.treasury_key, memo="never", blockhash=blockhash.value)
    assert not both.is_expired_everywhere(unsent.signature, blockhash.last_valid_block_height), "one has not passed it"
