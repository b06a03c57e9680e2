"""The JSON-RPC methods of the local chain: Solana's, in Solana's forms, and two of its own (`gridbay_…`)."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

from solders.pubkey import Pubkey

from billing.chains.keypairs import load_keypair
from billing.chains.local import shapes
from billing.chains.local.chain import verify_signatures
from billing.chains.local.errors import Code, RpcError
from billing.chains.local.faucet import AIRDROP_LAMPORTS_MAX, MINT_MICROUSD_MAX, Faucet
from billing.chains.local.genesis import LocalMarket
from billing.chains.local.params import Params, invalid
from billing.chains.local.runtime import token_account
from billing.chains.local.slots import Commitment, slot_of
from billing.chains.local.store import Landed
from billing.chains.local.view import View
from billing.chains.port import ADDRESS_PAGE_MAX, STATUSES_MAX

_ACCOUNTS_MAX: Final = 100
_FEE_ACCOUNTS_MAX: Final = 128
_FEE_BLOCKS: Final = 150
_ACCOUNT_BYTES_MAX: Final = 10 * 1024 * 1024
_ACCOUNT_ENCODINGS: Final = ("base58", "base64", "jsonParsed")
_TRANSACTION_ENCODINGS: Final = ("json", "jsonParsed", "base64", "base58")
_VERSION: Final = version("solders")

Json = Any


class Methods:
    """Each public method answers the RPC method that `table` gives it for; the caller holds the chain's lock."""

    def __init__(self, view: View, market: LocalMarket) -> None:
        self._view, self._chain = view, view.chain
        self._market = market
        self._faucet = Faucet(view.chain, load_keypair(market.faucet_keypair_path), Pubkey.from_string(market.mint))
        self.table: dict[str, Callable[[Params], Json]] = {
            "getAccountInfo": self.account_info,
            "getBalance": self.balance,
            "getBlockHeight": lambda p: self._view.height(p.options(0).commitment()),
            "getGenesisHash": lambda _: str(self._chain.genesis),
            "getHealth": lambda _: "ok",
            "getLatestBlockhash": self.latest_blockhash,
            "getMinimumBalanceForRentExemption": self.rent_exempt_minimum,
            "getMultipleAccounts": self.multiple_accounts,
            "getRecentPrioritizationFees": self.prioritization_fees,
            "getSignatureStatuses": self.signature_statuses,
            "getSignaturesForAddress": self.signatures_for_address,
            "getSlot": lambda p: slot_of(self._view.height(p.options(0).commitment())),
            "getTokenAccountBalance": self.token_account_balance,
            "getTransaction": self.transaction,
            "getVersion": lambda _: {"solana-core": f"0.0.0-gridbay-litesvm-solders-{_VERSION}", "feature-set": 0},
            "isBlockhashValid": self.is_blockhash_valid,
            "requestAirdrop": self.airdrop,
            "sendTransaction": self.send,
            "simulateTransaction": self.simulate,
            "gridbay_market": self.market,
            "gridbay_mintTestUsdc": self.mint_test_usdc,
        }

    def account_info(self, params: Params) -> Json:
        options = params.options(1)
        options.refuse("dataSlice")
        commitment = options.commitment()
        encoding = options.choice("encoding", _ACCOUNT_ENCODINGS, "base58")
        return self._in_context(self._account(params.pubkey(0), commitment, encoding), commitment)

    def multiple_accounts(self, params: Params) -> Json:
        options = params.options(1)
        options.refuse("dataSlice")
        commitment = options.commitment()
        encoding = options.choice("encoding", _ACCOUNT_ENCODINGS, "base64")
        keys = params.pubkeys(0, _ACCOUNTS_MAX)
        return self._in_context([self._account(key, commitment, encoding) for key in keys], commitment)

    def balance(self, params: Params) -> Json:
        commitment = params.options(1).commitment()
        account = self._view.account(params.pubkey(0), commitment)
        return self._in_context(0 if account is None else account.lamports, commitment)

    def latest_blockhash(self, params: Params) -> Json:
        commitment = params.options(0).commitment()
        blockhash, last_valid = self._view.latest_blockhash(commitment)
        return self._in_context({"blockhash": str(blockhash), "lastValidBlockHeight": last_valid}, commitment)

    def is_blockhash_valid(self, params: Params) -> Json:
        commitment = params.options(1).commitment()
        return self._in_context(self._chain.is_blockhash_valid(params.blockhash(0)), commitment)

    def rent_exempt_minimum(self, params: Params) -> Json:
        return self._chain.rent_exempt_minimum(params.integer(0, 0, _ACCOUNT_BYTES_MAX))

    def token_account_balance(self, params: Params) -> Json:
        commitment = params.options(1).commitment()
        token = token_account(self._view.account(params.pubkey(0), commitment))
        if token is None:
            raise invalid("could not find account, or it is not a Token account")
        amount = shapes.token_amount(token.amount, self._chain.decimals(token.mint))
        return self._in_context(amount, commitment)

    def signature_statuses(self, params: Params) -> Json:
        search_history = params.options(1).flag("searchTransactionHistory")
        values = []
        for signature in params.signatures(0, STATUSES_MAX):
            landed = self._view.find(signature, Commitment.PROCESSED)
            # As on a cluster, where the status cache alone forgets.
            known = landed is not None and (search_history or self._view.is_recent(landed.height))
            values.append(self._status(landed) if landed is not None and known else None)
        return self._in_context(values, Commitment.PROCESSED)

    def signatures_for_address(self, params: Params) -> Json:
        options = params.options(1)
        found = self._view.mentioning(
            params.pubkey(0),
            options.commitment(lowest=Commitment.CONFIRMED),
            until=options.signature("until"),
            before=options.signature("before"),
            limit=options.integer("limit", 1, ADDRESS_PAGE_MAX) or ADDRESS_PAGE_MAX,
        )
        return [
            {
                "signature": str(landed.signature),
                "slot": slot_of(landed.height),
                "err": shapes.error(landed),
                "memo": landed.memo,
                "blockTime": landed.block_time,
                "confirmationStatus": self._view.commitment_of(landed),
            }
            for landed in found
        ]

    def transaction(self, params: Params) -> Json:
        options = params.options(1)
        encoding = options.choice("encoding", _TRANSACTION_ENCODINGS, "json")
        version_max = options.integer("maxSupportedTransactionVersion", 0, 255)
        landed = self._view.find(params.signature(0), options.commitment(lowest=Commitment.CONFIRMED))
        if landed is None:
            return None
        shown = shapes.transaction(landed, slot_of(landed.height), encoding)
        found = shown["version"]
        if found != "legacy" and (version_max is None or found > version_max):
            raise RpcError(
                Code.UNSUPPORTED_TRANSACTION_VERSION,
                f"Transaction version ({found}) is not supported by the requesting client. Please try the request "
                f'again with the following configuration parameter: "maxSupportedTransactionVersion": {found}',
            )
        return shown

    def prioritization_fees(self, params: Params) -> Json:
        """Nobody bids on the local chain: its blocks are never full."""
        if params.given(0):
            params.pubkeys(0, _FEE_ACCOUNTS_MAX)
        newest = self._view.height(Commitment.PROCESSED)
        return [
            {"slot": slot_of(height), "prioritizationFee": 0} for height in range(newest - _FEE_BLOCKS + 1, newest + 1)
        ]

    def send(self, params: Params) -> Json:
        options = params.options(1)
        transaction = params.transaction(0, options)
        return str(self._chain.submit(transaction, preflight=not options.flag("skipPreflight")))

    def simulate(self, params: Params) -> Json:
        options = params.options(1)
        options.refuse("accounts", "innerInstructions")
        transaction = params.transaction(0, options)
        replace = options.flag("replaceRecentBlockhash")
        if options.flag("sigVerify"):
            if replace:
                raise invalid("sigVerify may not be used with replaceRecentBlockhash")
            verify_signatures(transaction)
        report = self._chain.simulate(transaction, replace_blockhash=replace)
        value = shapes.simulation(report.error, report.metadata)
        if report.replacement is not None:
            blockhash, last_valid = report.replacement
            value["replacementBlockhash"] = {"blockhash": str(blockhash), "lastValidBlockHeight": last_valid}
        return self._in_context(value, Commitment.PROCESSED)

    def airdrop(self, params: Params) -> Json:
        return str(self._faucet.airdrop(params.pubkey(0), params.integer(1, 1, AIRDROP_LAMPORTS_MAX)))

    def mint_test_usdc(self, params: Params) -> Json:
        return str(self._faucet.mint_test_usdc(params.pubkey(0), params.integer(1, 1, MINT_MICROUSD_MAX)))

    def market(self, _: Params) -> Json:
        return {"mint": self._market.mint, "treasury": self._market.treasury}

    def _account(self, key: Pubkey, commitment: Commitment, encoding: str) -> Json:
        # jsonParsed falls back to base64 where the RPC has no parser, and this one has none
        return shapes.account(self._view.account(key, commitment), "base64" if encoding == "jsonParsed" else encoding)

    def _status(self, landed: Landed) -> Json:
        level, error = self._view.commitment_of(landed), shapes.error(landed)
        depth = self._view.height(Commitment.PROCESSED) - landed.height
        return {
            "slot": slot_of(landed.height),
            "confirmations": None if level == Commitment.FINALIZED else depth,
            "err": error,
            "status": {"Ok": None} if error is None else {"Err": error},
            "confirmationStatus": level,
        }

    def _in_context(self, value: Json, commitment: Commitment) -> Json:
        return {"context": {"slot": slot_of(self._view.height(commitment))}, "value": value}
