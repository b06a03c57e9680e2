"""Receipts against the chain: each epoch's root must be in a finalized transaction that the treasury signed.

Asks any Solana RPC by plain JSON-RPC, so that a bill can be checked without the market and without its software.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from gridbay.client.transport import CONNECT_SECONDS, storage_client
from market.errors import Unavailable
from market.receipts import EpochRoot, Receipt, Verdict

ANSWER_SECONDS = 20.0
MEMO_PROGRAMS = frozenset(
    {"MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr", "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"}
)


@dataclass(frozen=True, slots=True)
class Anchor:
    """One epoch as the chain has it."""

    epoch: int
    signature: str
    slot: int


@dataclass(frozen=True, slots=True)
class ChainVerdict(Verdict):
    """anchors: what was found; treasury: the address whose signature was demanded, None if nobody named one."""

    anchors: tuple[Anchor, ...] = ()
    treasury: str | None = None


def verify_anchors(receipt: Receipt, rpc_url: str, *, treasury: str | None = None) -> ChainVerdict:
    """As verify_roots, for those that the receipt rests on."""
    return verify_roots(_roots(receipt), receipt.treasury, rpc_url, treasury=treasury)


def verify_roots(
    roots: Iterable[tuple[EpochRoot, str | None]], named: str | None, rpc_url: str, *, treasury: str | None = None
) -> ChainVerdict:
    """Whether these roots are on the chain, in the transactions beside them.

    treasury: the address one trusts to speak for the market; without it, the one that their document names. Raises
    Unavailable when the RPC does not answer.
    """
    signer = treasury or named
    problems: list[str] = []
    anchors: list[Anchor] = []
    if signer is None:
        problems.append("it is not said whose signature anchors the epochs: name the treasury's address")
    if treasury is not None and named not in (None, treasury):
        problems.append(f"it names {named} as the treasury, not {treasury}")
    with storage_client(rpc_url) as client:
        for root, signature in sorted(roots, key=lambda item: item[0].epoch):
            if signature is None:
                problems.append(f"epoch {root.epoch} is not anchored yet")
                continue
            transaction = _transaction(client, rpc_url, signature)
            found = anchor_problems(root, transaction, signer)
            problems += [f"epoch {root.epoch}, transaction {signature}: {problem}" for problem in found]
            if transaction is not None and not found:
                anchors.append(Anchor(root.epoch, signature, int(transaction.get("slot", 0))))
    return ChainVerdict(tuple(problems), tuple(anchors), signer)


def anchor_problems(root: EpochRoot, transaction: Mapping[str, Any] | None, signer: str | None) -> list[str]:
    """What of a transaction (jsonParsed) keeps it from anchoring that root."""
    if transaction is None:
        return ["the chain has no such finalized transaction"]
    try:
        message, error = transaction["transaction"]["message"], transaction["meta"]["err"]
        signers = {key["pubkey"] for key in message["accountKeys"] if key["signer"]}
        memos = [item["parsed"] for item in message["instructions"] if item.get("programId") in MEMO_PROGRAMS]
    except (KeyError, TypeError, AttributeError) as fault:
        return [f"the RPC's answer cannot be read ({type(fault).__name__}: {fault})"]
    problems = []
    if error is not None:
        problems.append(f"it failed: {error}")
    if root.memo not in memos:
        problems.append(f"its memo is {memos[0]!r}, not {root.memo!r}" if memos else "it has no memo")
    if signer is not None and signer not in signers:
        problems.append(f"it is signed by {', '.join(sorted(signers))}, not by the treasury {signer}")
    return problems


def _roots(receipt: Receipt) -> set[tuple[EpochRoot, str | None]]:
    return {(entry.epoch, entry.anchor_signature) for entry in receipt.lines}


def _transaction(client: httpx.Client, rpc_url: str, signature: str) -> Mapping[str, Any] | None:
    options = {"commitment": "finalized", "encoding": "jsonParsed", "maxSupportedTransactionVersion": 1}
    found: Mapping[str, Any] | None = rpc(client, rpc_url, "getTransaction", [signature, options])
    return found


def rpc(client: httpx.Client, rpc_url: str, method: str, params: Sequence[Any]) -> Any:
    """One JSON-RPC call's result. Raises Unavailable for anything but a result."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    remedy = "check the RPC's URL, or use another"
    try:
        response = client.post(rpc_url, json=body, timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS))
        answer = response.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise Unavailable(
            f"the RPC {rpc_url} does not answer: {error or type(error).__name__}", remedy=remedy
        ) from None
    if not isinstance(answer, dict) or "error" in answer or "result" not in answer:
        said = answer.get("error") if isinstance(answer, dict) else answer
        raise Unavailable(f"the RPC {rpc_url} refused {method}: {said}", remedy=remedy)
    return answer["result"]
