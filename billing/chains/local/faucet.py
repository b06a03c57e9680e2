"""Free test money, which only the local chain has: SOL and test USDC, by ordinary signed transactions."""

import secrets
from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.token import ID as TOKEN_PROGRAM
from solders.token.associated import get_associated_token_address
from solders.transaction import VersionedTransaction

from billing.chains.local.chain import LocalChain
from billing.chains.local.genesis import LAMPORTS_PER_SOL
from billing.chains.local.slots import Commitment
from billing.chains.transactions import (
    MEMO_PROGRAM,
    USDC_DECIMALS,
    create_token_account_instruction,
    sign,
)

AIRDROP_LAMPORTS_MAX: Final = 1_000 * LAMPORTS_PER_SOL
MINT_MICROUSD_MAX: Final = 10**15
_MINT_TO_CHECKED: Final = 14


class Faucet:
    def __init__(self, chain: LocalChain, key: Keypair, mint: Pubkey) -> None:
        self._chain = chain
        self._key = key
        self._mint = mint

    def airdrop(self, to: Pubkey, lamports: int) -> Signature:
        return self._send([transfer(TransferParams(from_pubkey=self._key.pubkey(), to_pubkey=to, lamports=lamports))])

    def mint_test_usdc(self, owner: Pubkey, amount_microusd: int) -> Signature:
        """Into the owner's associated token account, which is made if there is none."""
        account = get_associated_token_address(owner, self._mint)
        mint_to = Instruction(
            TOKEN_PROGRAM,
            bytes([_MINT_TO_CHECKED]) + amount_microusd.to_bytes(8, "little") + bytes([USDC_DECIMALS]),
            [
                AccountMeta(self._mint, is_signer=False, is_writable=True),
                AccountMeta(account, is_signer=False, is_writable=True),
                AccountMeta(self._key.pubkey(), is_signer=True, is_writable=False),
            ],
        )
        create = create_token_account_instruction(payer=self._key.pubkey(), owner=owner, mint=self._mint)
        return self._send([create, mint_to])

    def _send(self, instructions: list[Instruction]) -> Signature:
        # Asking twice within one block gives money twice: without this the second would be the same transaction.
        unique = Instruction(MEMO_PROGRAM, f"faucet {secrets.token_hex(8)}".encode(), [])
        blockhash = self._chain.blockhash_at(self._chain.height(Commitment.PROCESSED))
        signed = sign([*instructions, unique], payer=self._key, blockhash=str(blockhash))
        return self._chain.submit(VersionedTransaction.from_bytes(signed.wire), preflight=True)
