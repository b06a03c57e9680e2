"""How the local chain's facts look in JSON: the forms of Solana's RPC that clients parse."""

import base64
import json
from collections.abc import Sequence
from typing import Any, Final

from solders.account import Account
from solders.instruction import CompiledInstruction
from solders.message import Message, MessageV0, MessageV1
from solders.token import ID as TOKEN_PROGRAM
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import TransactionMetadata

from billing.chains.local import base58
from billing.chains.local.runtime import Outcome, TokenBalance
from billing.chains.local.store import Landed
from billing.chains.transactions import MEMO_PROGRAM

RENT_EPOCH: Final = 2**64 - 1
"""What every rent-exempt account shows on a real cluster."""


def token_amount(amount: int, decimals: int) -> dict[str, Any]:
    whole, part = divmod(amount, 10**decimals)
    text = f"{whole}.{part:0{decimals}d}".rstrip("0").rstrip(".") if decimals else str(whole)
    return {
        "amount": str(amount),
        "decimals": decimals,
        "uiAmount": amount / 10**decimals,
        "uiAmountString": text,
    }


def account(value: Account | None, encoding: str) -> dict[str, Any] | None:
    if value is None:
        return None
    data = base58.encode(value.data) if encoding == "base58" else base64.b64encode(value.data).decode()
    return {
        "lamports": value.lamports,
        "owner": str(value.owner),
        "executable": value.executable,
        "rentEpoch": RENT_EPOCH,
        "space": len(value.data),
        "data": [data, encoding],
    }


def memo_line(message: Message | MessageV0 | MessageV1) -> str | None:
    """The memos of a transaction as getSignaturesForAddress shows them: `[length] text; [length] text`."""
    memos = [
        f"[{len(i.data)}] {i.data.decode('utf-8', 'replace')}"
        for i in message.instructions
        if message.account_keys[i.program_id_index] == MEMO_PROGRAM
    ]
    return "; ".join(memos) or None


def meta(outcome: Outcome) -> dict[str, Any]:
    """What a transaction did, as getTransaction shows it under `meta`."""
    return {
        "err": outcome.error,
        "status": {"Ok": None} if outcome.error is None else {"Err": outcome.error},
        "fee": outcome.metadata.fee(),
        "preBalances": [_lamports(outcome.before[key]) for key in outcome.keys],
        "postBalances": [_lamports(outcome.after[key]) for key in outcome.keys],
        "preTokenBalances": [_token_balance(b) for b in outcome.tokens_before],
        "postTokenBalances": [_token_balance(b) for b in outcome.tokens_after],
        "innerInstructions": _inner_instructions(outcome.metadata),
        "logMessages": outcome.metadata.logs(),
        "rewards": [],
        "loadedAddresses": {
            "writable": [str(key) for key in outcome.loaded.writable],
            "readonly": [str(key) for key in outcome.loaded.readonly],
        },
        "computeUnitsConsumed": outcome.metadata.compute_units_consumed(),
        "returnData": _return_data(outcome.metadata),
    }


def simulation(err: Any, metadata: TransactionMetadata | None) -> dict[str, Any]:
    """What a transaction would do; without metadata it was not even tried."""
    return {
        "err": err,
        "logs": [] if metadata is None else metadata.logs(),
        "unitsConsumed": 0 if metadata is None else metadata.compute_units_consumed(),
        "returnData": None if metadata is None else _return_data(metadata),
        "accounts": None,
        "innerInstructions": None,
    }


def transaction(landed: Landed, slot: int, encoding: str) -> dict[str, Any]:
    """A whole transaction as getTransaction answers it."""
    parsed = VersionedTransaction.from_bytes(landed.wire)
    meta = json.loads(landed.meta)
    shown: Any
    match encoding:
        case "base64":
            shown = [base64.b64encode(landed.wire).decode(), "base64"]
        case "base58":
            shown = [base58.encode(landed.wire), "base58"]
        case _:
            shown = {
                "signatures": [str(s) for s in parsed.signatures],
                "message": _message(parsed.message, meta["loadedAddresses"], as_parsed=encoding == "jsonParsed"),
            }
    return {
        "slot": slot,
        "blockTime": landed.block_time,
        "version": version(parsed),
        "transaction": shown,
        "meta": meta,
    }


def error(landed: Landed) -> Any:
    return None if landed.error is None else json.loads(landed.error)


def version(parsed: VersionedTransaction) -> str | int:
    found = parsed.version()
    return found if isinstance(found, int) else "legacy"


def _message(
    message: Message | MessageV0 | MessageV1, loaded: dict[str, list[str]], *, as_parsed: bool
) -> dict[str, Any]:
    keys, header = [str(key) for key in message.account_keys], message.header
    body: dict[str, Any] = {"recentBlockhash": str(message.recent_blockhash)}
    if not isinstance(message, Message):
        body["addressTableLookups"] = _lookups(message)
    if as_parsed:
        signed = header.num_required_signatures
        body["accountKeys"] = [
            {
                "pubkey": key,
                "signer": index < signed,
                "writable": index < signed - header.num_readonly_signed_accounts
                or signed <= index < len(keys) - header.num_readonly_unsigned_accounts,
                "source": "transaction",
            }
            for index, key in enumerate(keys)
        ] + [
            {"pubkey": key, "signer": False, "writable": kind == "writable", "source": "lookupTable"}
            for kind in ("writable", "readonly")
            for key in loaded[kind]
        ]
        named = [*keys, *loaded["writable"], *loaded["readonly"]]
        body["instructions"] = [_parsed_instruction(i, named) for i in message.instructions]
        return body
    body["accountKeys"] = keys
    body["header"] = {
        "numRequiredSignatures": header.num_required_signatures,
        "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
        "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
    }
    body["instructions"] = [_instruction(i, 1) for i in message.instructions]
    return body


def _instruction(instruction: CompiledInstruction, depth: int | None) -> dict[str, Any]:
    return {
        "programIdIndex": instruction.program_id_index,
        "accounts": list(instruction.accounts),
        "data": base58.encode(instruction.data),
        "stackHeight": depth,
    }


def _lookups(message: MessageV0 | MessageV1) -> list[dict[str, Any]]:
    lookups = message.address_table_lookups if isinstance(message, MessageV0) else []
    return [
        {
            "accountKey": str(lookup.account_key),
            "writableIndexes": list(lookup.writable_indexes),
            "readonlyIndexes": list(lookup.readonly_indexes),
        }
        for lookup in lookups
    ]


def _parsed_instruction(instruction: CompiledInstruction, keys: Sequence[str]) -> dict[str, Any]:
    """Memos in words; the rest in the form the RPC has for programs that it cannot parse."""
    program, data = keys[instruction.program_id_index], instruction.data
    if program == str(MEMO_PROGRAM):
        text = data.decode("utf-8", "replace")
        return {"program": "spl-memo", "programId": program, "parsed": text, "stackHeight": 1}
    return {
        "programId": program,
        "accounts": [keys[index] for index in instruction.accounts],
        "data": base58.encode(data),
        "stackHeight": 1,
    }


def _inner_instructions(metadata: TransactionMetadata) -> list[dict[str, Any]]:
    return [
        {"index": index, "instructions": [_instruction(i.instruction(), i.stack_height()) for i in inner]}
        for index, inner in enumerate(metadata.inner_instructions())
        if inner
    ]


def _return_data(metadata: TransactionMetadata) -> dict[str, Any] | None:
    found = metadata.return_data()
    if not found.data:
        return None
    return {"programId": str(found.program_id), "data": [base64.b64encode(found.data).decode(), "base64"]}


def _token_balance(balance: TokenBalance) -> dict[str, Any]:
    return {
        "accountIndex": balance.account_index,
        "mint": str(balance.mint),
        "owner": str(balance.owner),
        "programId": str(TOKEN_PROGRAM),
        "uiTokenAmount": token_amount(balance.amount, balance.decimals),
    }


def _lamports(value: Account | None) -> int:
    return 0 if value is None else value.lamports
