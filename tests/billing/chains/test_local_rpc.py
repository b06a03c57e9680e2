"""The local chain's JSON-RPC: the shapes that Solana's clients parse, and a plain refusal for everything else."""

import asyncio
import base64
import http.client
import json
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from local_net import LocalNet, ask, result
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed, Processed
from solana.rpc.core import RPCException
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.rpc.errors import SendTransactionPreflightFailureMessage
from solders.signature import Signature
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer
from solders.token import ID as TOKEN_PROGRAM
from solders.transaction import VersionedTransaction

from billing.chains.local.genesis import LAMPORTS_PER_SOL
from billing.chains.local.server import BODY_BYTES_MAX, CONNECTIONS_MAX
from billing.chains.port import SignatureState
from billing.chains.transactions import MEMO_PROGRAM, associated_token_address, sign

T = TypeVar("T")


def through_solana_py(net: LocalNet, call: Callable[[AsyncClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with AsyncClient(net.url, timeout=10) as client:
            return await call(client)

    return asyncio.run(run())


def encoded(wire: bytes) -> str:
    return base64.b64encode(wire).decode()


def post(net: LocalNet, body: bytes, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(net.url).netloc, timeout=10)
    try:
        connection.request("POST", "/", body, {"Content-Type": "application/json"} | headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_solana_py_parses_every_answer(net: LocalNet) -> None:
    customer = net.wallet(microusd=100)
    wire = net.deposit(customer, 40, memo="hello")
    signature = Signature.from_string(net.chain.send(wire))
    net.finalize()
    account = Pubkey.from_string(associated_token_address(net.treasury, net.mint))
    parsed = VersionedTransaction.from_bytes(wire)

    async def every(client: AsyncClient) -> None:
        assert await client.is_connected()
        assert "litesvm" in (await client.get_version()).value.solana_core
        height, slot = (await client.get_block_height()).value, (await client.get_slot()).value
        assert slot > height + 1000
        assert (await client.get_slot(Processed)).value == slot + 3
        fresh = (await client.get_latest_blockhash(Confirmed)).value
        assert fresh.last_valid_block_height == height + 2 + 150
        assert (await client.get_genesis_hash()).value != fresh.blockhash
        assert (await client.get_balance(customer.pubkey())).value == LAMPORTS_PER_SOL - 5000
        assert (await client.get_minimum_balance_for_rent_exemption(165)).value == 2_039_280
        balance = (await client.get_token_account_balance(account)).value
        assert (balance.amount, balance.decimals, balance.ui_amount_string) == ("40", 6, "0.00004")
        found = (await client.get_account_info(account)).value
        assert found is not None and found.owner == TOKEN_PROGRAM and len(found.data) == 165
        many = (await client.get_multiple_accounts([account, Keypair().pubkey()])).value
        assert many == [found, None]
        (status,) = (await client.get_signature_statuses([signature])).value
        assert status is not None and status.err is None and status.confirmations is None
        (line,) = (await client.get_signatures_for_address(customer.pubkey(), limit=1)).value
        assert line.signature == signature and line.memo == "[5] hello"
        assert (await client.simulate_transaction(parsed)).value.err is not None  # it has been processed
        again = (await client.simulate_transaction(parsed, replace_recent_blockhash=True)).value
        assert again.err is None and again.replacement_blockhash is not None and again.units_consumed
        assert (await client.send_transaction(parsed)).value == signature
        for encoding in ("base64", "base58", "json", "jsonParsed"):
            read = (await client.get_transaction(signature, encoding)).value
            assert read is not None and read.transaction.meta is not None
            pre, post = read.transaction.meta.pre_token_balances, read.transaction.meta.post_token_balances
            payer = str(customer.pubkey())
            assert {str(p.owner): p.ui_token_amount.amount for p in pre or ()} == {payer: "100", net.treasury: "0"}
            assert {str(p.owner): p.ui_token_amount.amount for p in post or ()} == {payer: "60", net.treasury: "40"}
            if encoding.startswith("base"):
                assert read.transaction.transaction == parsed
        assert (await client.request_airdrop(customer.pubkey(), 5)).value

    through_solana_py(net, every)


def test_the_json_of_a_transaction_names_the_accounts_that_its_bytes_name(net: LocalNet) -> None:
    wire = net.deposit(net.wallet(microusd=100), 40, memo="hello")
    signature = net.chain.send(wire)
    net.finalize()
    message = VersionedTransaction.from_bytes(wire).message
    plain = result(net.url, "getTransaction", signature)["transaction"]["message"]
    assert plain["accountKeys"] == [str(key) for key in message.account_keys]
    assert [i["programIdIndex"] for i in plain["instructions"]] == [i.program_id_index for i in message.instructions]
    parsed = result(net.url, "getTransaction", signature, {"encoding": "jsonParsed"})["transaction"]["message"]
    assert [key["pubkey"] for key in parsed["accountKeys"]] == plain["accountKeys"]
    assert [key["signer"] for key in parsed["accountKeys"]].count(True) == 1
    # payer and the two token accounts
    assert [key["writable"] for key in parsed["accountKeys"]].count(True) == 3
    assert parsed["instructions"][0]["parsed"] == "hello"
    assert parsed["instructions"][1]["programId"] == str(TOKEN_PROGRAM)


def test_preflight_says_why_and_keeps_it_from_the_chain(net: LocalNet) -> None:
    customer = net.wallet(microusd=10)
    too_much = VersionedTransaction.from_bytes(net.deposit(customer, 11))
    with pytest.raises(RPCException) as raised:
        through_solana_py(net, lambda client: client.send_transaction(too_much))
    assert isinstance(raised.value.args[0], SendTransactionPreflightFailureMessage)
    old = net.deposit(customer, 1)
    net.blocks(200)
    error = ask(net.url, "sendTransaction", encoded(old), {"encoding": "base64"})["error"]
    assert (error["code"], error["data"]["err"]) == (-32002, "BlockhashNotFound")
    for transaction in (too_much, VersionedTransaction.from_bytes(old)):
        (status,) = net.chain.signature_statuses([str(transaction.signatures[0])])
        assert status.state == SignatureState.UNKNOWN


def test_a_blockhash_is_valid_for_150_blocks(net: LocalNet) -> None:
    blockhash = result(net.url, "getLatestBlockhash", {"commitment": "processed"})["value"]["blockhash"]
    net.blocks(150)
    assert result(net.url, "isBlockhashValid", blockhash)["value"] is True
    net.blocks(1)
    assert result(net.url, "isBlockhashValid", blockhash)["value"] is False
    assert result(net.url, "isBlockhashValid", str(Keypair().pubkey()))["value"] is False


def test_only_the_history_remembers_old_signatures(net: LocalNet) -> None:
    signature = result(net.url, "requestAirdrop", net.treasury, 1)
    net.blocks(151)
    assert result(net.url, "getSignatureStatuses", [signature])["value"] == [None]
    searching = {"searchTransactionHistory": True}
    (status,) = result(net.url, "getSignatureStatuses", [signature], searching)["value"]
    assert status["confirmationStatus"] == "finalized"


def test_the_faucet_gives_again_within_one_block(net: LocalNet) -> None:
    owner = str(Keypair().pubkey())
    signatures = {result(net.url, "gridbay_mintTestUsdc", owner, 7) for _ in range(3)}
    assert len(signatures) == 3
    net.finalize()
    assert net.chain.token_balance(owner, net.mint) == 21
    assert result(net.url, "gridbay_market") == {"mint": net.mint, "treasury": net.treasury}


def test_a_versioned_transaction_is_shown_to_those_who_ask_for_its_version(net: LocalNet) -> None:
    payer, other = net.wallet(), Keypair().pubkey()
    instruction = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=other, lamports=10**7))
    blockhash = through_solana_py(net, lambda client: client.get_latest_blockhash()).value.blockhash
    message = MessageV0.try_compile(payer.pubkey(), [instruction], [], blockhash)
    signature = net.chain.send(bytes(VersionedTransaction(message, [payer])))
    net.finalize()
    assert net.chain.sol_balance(str(other)) == 10**7
    assert ask(net.url, "getTransaction", signature)["error"]["code"] == -32015
    shown = result(net.url, "getTransaction", signature, {"maxSupportedTransactionVersion": 0})
    assert shown["version"] == 0
    assert net.chain.read_transaction(signature) is not None


def test_room_for_a_token_account_is_not_one_yet(net: LocalNet) -> None:
    payer, account = net.wallet(), Keypair()
    instruction = create_account(
        CreateAccountParams(
            from_pubkey=payer.pubkey(), to_pubkey=account.pubkey(), lamports=2_039_280, space=165, owner=TOKEN_PROGRAM
        )
    )
    blockhash = net.chain.latest_blockhash().value
    signature = net.chain.send(sign([instruction], payer=payer, blockhash=blockhash, others=[account]).wire)
    net.finalize()
    read = net.chain.read_transaction(signature)
    assert read is not None and read.failure is None and read.token_changes == ()
    assert "error" in ask(net.url, "getTokenAccountBalance", str(account.pubkey()))


def test_a_full_disk_changes_nothing_and_the_same_bytes_land_later(net: LocalNet) -> None:
    customer = net.wallet(microusd=10)
    wire = net.deposit(customer, 4)
    signature = str(VersionedTransaction.from_bytes(wire).signatures[0])
    database: sqlite3.Connection = net.server.chain._store._db
    with net.server.chain.lock:
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
    errors = [ask(net.url, "gridbay_mintTestUsdc", str(Keypair().pubkey()), 1).get("error") for _ in range(40)]
    assert errors[-1] is not None and errors[-1]["code"] == -32603
    answer = ask(net.url, "sendTransaction", encoded(wire), {"encoding": "base64"})
    assert answer["error"]["code"] == -32603
    net.finalize()
    assert net.chain.token_balance(str(customer.pubkey()), net.mint) == 10
    assert net.chain.signature_statuses([signature])[0].state == SignatureState.UNKNOWN
    with net.server.chain.lock:
        database.execute("PRAGMA max_page_count = 1000000")
    assert net.chain.send(wire) == signature
    net.finalize()
    assert net.chain.token_balance(str(customer.pubkey()), net.mint) == 6


NOBODY = str(Keypair().pubkey())
MALFORMED: list[tuple[bytes | tuple[str, Any], int]] = [
    (b"", -32700),
    (b"{", -32700),
    (b"\xff\xfe", -32700),
    (b"[" * 50_000, -32700),
    (b"[]", -32600),
    (b"1", -32600),
    (b"null", -32600),
    (b'{"id": {}, "method": 5}', -32600),
    (json.dumps([{}] * 101).encode(), -32600),
    (("noSuchMethod", []), -32601),
    (("getBalance", {"pubkey": NOBODY}), -32602),
    (("getBalance", []), -32602),
    (("getBalance", [5]), -32602),
    (("getBalance", ["not base58: 0OIl"]), -32602),
    (("getBalance", [NOBODY, "finalized"]), -32602),
    (("getBalance", [NOBODY, {"commitment": "soon"}]), -32602),
    (("getBalance", [NOBODY, {"commitment": ["finalized"]}]), -32602),
    (("getAccountInfo", [NOBODY, {"encoding": "base64+zstd"}]), -32602),
    (("getAccountInfo", [NOBODY, {"dataSlice": {"offset": 0, "length": 1}}]), -32602),
    (("getMultipleAccounts", [[NOBODY] * 101]), -32602),
    (("getMinimumBalanceForRentExemption", [-1]), -32602),
    (("getMinimumBalanceForRentExemption", [True]), -32602),
    (("getTokenAccountBalance", [NOBODY]), -32602),
    (("getSignatureStatuses", [["x"]]), -32602),
    (("getSignatureStatuses", [[str(Signature.default())] * 257]), -32602),
    (("getSignatureStatuses", [[], {"searchTransactionHistory": "yes"}]), -32602),
    (("getSignaturesForAddress", [NOBODY, {"limit": 1001}]), -32602),
    (("getSignaturesForAddress", [NOBODY, {"commitment": "processed"}]), -32602),
    (("getSignaturesForAddress", [NOBODY, {"before": str(Signature.new_unique())}]), -32020),
    (("getTransaction", [NOBODY]), -32602),
    (("sendTransaction", ["AAAA", {"encoding": "base64"}]), -32602),
    (("sendTransaction", ["*", {"encoding": "base64"}]), -32602),
    (("sendTransaction", ["l"]), -32602),
    (("sendTransaction", ["1" * 3000]), -32602),
    (("sendTransaction", [encoded(bytes(1233)), {"encoding": "base64"}]), -32602),
    (("requestAirdrop", [NOBODY, 0]), -32602),
    (("requestAirdrop", [NOBODY, 10**15]), -32602),
    (("gridbay_mintTestUsdc", [NOBODY, -1]), -32602),
    (("gridbay_mintTestUsdc", [NOBODY, 0.5]), -32602),
]


def test_malformed_requests_get_the_right_error_and_harm_nothing(net: LocalNet) -> None:
    for request, code in MALFORMED:
        body = request
        if isinstance(body, tuple):
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": body[0], "params": body[1]}).encode()
        status, answer = post(net, body)
        assert status == 200, request
        assert json.loads(answer)["error"]["code"] == code, (request, answer)
    assert result(net.url, "getHealth") == "ok"


def test_a_simulation_of_what_cannot_be_checked_is_refused(net: LocalNet) -> None:
    payer = net.wallet()
    wire = encoded(net.deposit(payer, 1))
    both = {"encoding": "base64", "sigVerify": True, "replaceRecentBlockhash": True}
    assert ask(net.url, "simulateTransaction", wire, both)["error"]["code"] == -32602
    unsigned = VersionedTransaction.populate(
        VersionedTransaction.from_bytes(base64.b64decode(wire)).message, [Signature.default()]
    )
    checked = {"encoding": "base64", "sigVerify": True}
    assert ask(net.url, "simulateTransaction", encoded(bytes(unsigned)), checked)["error"]["code"] == -32003
    trailing = encoded(base64.b64decode(wire) + b"\0")
    assert "after its end" in ask(net.url, "sendTransaction", trailing, {"encoding": "base64"})["error"]["message"]


def test_a_batch_is_answered_in_order(net: LocalNet) -> None:
    batch = [{"jsonrpc": "2.0", "id": n, "method": m} for n, m in enumerate(("getHealth", "nothing", "getHealth"))]
    status, body = post(net, json.dumps(batch).encode())
    answers = json.loads(body)
    assert status == 200 and [a["id"] for a in answers] == [0, 1, 2]
    assert [a.get("result") for a in answers] == ["ok", None, "ok"]


def test_http_is_bounded(net: LocalNet) -> None:
    assert post(net, b"x" * (BODY_BYTES_MAX + 1))[0] == 413
    # what a foreign web page could send without asking
    assert post(net, b"{}", **{"Content-Type": "text/plain"})[0] == 415
    assert post(net, b"{}", **{"Content-Length": "-5"})[0] == 411


def test_connections_are_bounded_and_come_free_again(net: LocalNet) -> None:
    address = ("127.0.0.1", urlsplit(net.url).port or 0)
    held = [socket.create_connection(address, timeout=10) for _ in range(CONNECTIONS_MAX)]
    try:
        with socket.create_connection(address, timeout=10) as one_more:
            assert one_more.recv(1) == b""
    finally:
        for connection in held:
            connection.close()
    for _ in range(1000):
        try:
            assert result(net.url, "getHealth") == "ok"
            break
        except OSError:
            continue
    else:
        pytest.fail("no connection came free")


def test_the_memo_program_is_the_one_of_solana_py() -> None:
    from spl.memo.constants import MEMO_PROGRAM_ID

    assert MEMO_PROGRAM == MEMO_PROGRAM_ID
