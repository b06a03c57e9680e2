"""How a local chain begins: its keys, the test USDC mint, and a treasury with SOL and a token account.

The keys come first and alone (`prepare`), so that the market's settings can name mint and treasury before the
chain's server runs; the server founds the chain with them at its first start.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from solders.account import Account
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer
from solders.token import ID as TOKEN_PROGRAM
from solders.transaction import VersionedTransaction

from billing.chains.keypairs import ensure_keypair, load_keypair
from billing.chains.local.chain import LocalChain
from billing.chains.local.slots import Commitment, Timing
from billing.chains.local.store import Store
from billing.chains.transactions import (
    USDC_DECIMALS,
    create_token_account_instruction,
    sign,
)

LAMPORTS_PER_SOL: Final = 10**9
_FAUCET_LAMPORTS: Final = 500_000_000 * LAMPORTS_PER_SOL
_TREASURY_LAMPORTS: Final = 1_000 * LAMPORTS_PER_SOL
_MINT_BYTES: Final = 82
_INITIALIZE_MINT_2: Final = 20


@dataclass(frozen=True)
class LocalMarket:
    """The addresses of a local chain and where its keys lie."""

    mint: str
    treasury: str
    faucet: str
    treasury_keypair_path: Path
    faucet_keypair_path: Path
    mint_keypair_path: Path


def prepare(state_dir: Path) -> LocalMarket:
    """Make the keys that are not there yet; may be called as often as wanted, also while the server runs."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = {name: state_dir / f"{name}.json" for name in ("mint", "treasury", "faucet")}
    addresses = {name: str(ensure_keypair(path).pubkey()) for name, path in paths.items()}
    return LocalMarket(
        **addresses,
        treasury_keypair_path=paths["treasury"],
        faucet_keypair_path=paths["faucet"],
        mint_keypair_path=paths["mint"],
    )


def open_chain(
    state_dir: Path,
    timing: Timing,
    clock: Callable[[], float] = time.monotonic,
    unix: Callable[[], float] = time.time,
) -> tuple[LocalChain, LocalMarket]:
    """The chain kept in the folder, founded if it is new. Raises StoreLocked if another process has it open."""
    market = prepare(state_dir)
    store = Store(state_dir / "chain.sqlite3")
    try:
        if store.is_new:
            # As in a cluster's genesis, the first money is simply there: the faucet's.
            wealth = Account(_FAUCET_LAMPORTS, b"", Pubkey.default())
            store.create(Hash(secrets.token_bytes(32)), [(Pubkey.from_string(market.faucet), wealth)])
        chain = LocalChain(store, timing, clock, unix)
        if chain.account(Pubkey.from_string(market.mint), chain.height(Commitment.PROCESSED)) is None:
            _found(chain, market)
    except BaseException:
        store.close()
        raise
    return chain, market


def _found(chain: LocalChain, market: LocalMarket) -> None:
    """The first transaction: all of the market's accounts, or none if it is cut short."""
    faucet, mint = load_keypair(market.faucet_keypair_path), load_keypair(market.mint_keypair_path)
    treasury = Pubkey.from_string(market.treasury)
    instructions = [
        create_account(
            CreateAccountParams(
                from_pubkey=faucet.pubkey(),
                to_pubkey=mint.pubkey(),
                lamports=chain.rent_exempt_minimum(_MINT_BYTES),
                space=_MINT_BYTES,
                owner=TOKEN_PROGRAM,
            )
        ),
        _initialize_mint(mint.pubkey(), authority=faucet.pubkey()),
        transfer(TransferParams(from_pubkey=faucet.pubkey(), to_pubkey=treasury, lamports=_TREASURY_LAMPORTS)),
        create_token_account_instruction(payer=faucet.pubkey(), owner=treasury, mint=mint.pubkey()),
    ]
    blockhash = chain.blockhash_at(chain.height(Commitment.PROCESSED))
    signed = sign(instructions, payer=faucet, blockhash=str(blockhash), others=[mint])
    chain.submit(VersionedTransaction.from_bytes(signed.wire), preflight=True)


def _initialize_mint(mint: Pubkey, authority: Pubkey) -> Instruction:
    no_freeze_authority = b"\0"
    data = bytes([_INITIALIZE_MINT_2, USDC_DECIMALS]) + bytes(authority) + no_freeze_authority
    return Instruction(TOKEN_PROGRAM, data, [AccountMeta(mint, is_signer=False, is_writable=True)])
