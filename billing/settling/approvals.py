"""What proves whose a token account is: the owner's own approval, on the chain, that names the allowance. Pure."""

from dataclasses import dataclass

from solders.token import ID as TOKEN_PROGRAM

from billing.chains.port import ChainInstruction, ChainTransaction
from billing.chains.transactions import APPROVE, APPROVE_CHECKED
from market.errors import InvalidInput

MEMO_PREFIX = "gridbay/allowance/v1"


@dataclass(frozen=True, slots=True)
class Approval:
    """owner: who has signed it, as the owner of that token account."""

    token_account: str
    owner: str


def memo_of(allowance_id: str) -> str:
    """What the approval's transaction says, so that it counts for nobody else's allowance."""
    return f"{MEMO_PREFIX} {allowance_id}"


def approval_in(transaction: ChainTransaction, *, allowance_id: str, delegate: str) -> Approval:
    """The one approval of a finalized transaction. Raises InvalidInput, saying what is missing.

    Its signatures are checked here (ChainTransaction.signers), so that no RPC can make one up.
    """
    if transaction.failure is not None:
        raise InvalidInput(f"this transaction failed ({transaction.failure.reason}): it approved nothing")
    memo = memo_of(allowance_id)
    if memo not in transaction.memos:
        raise InvalidInput(f"this transaction has no memo {memo!r}: it approves for nobody here")
    found = [each for instruction in transaction.instructions if (each := _approval(instruction, delegate)) is not None]
    if len(found) != 1:
        raise InvalidInput(f"this transaction has {len(found)} approvals for {delegate}, and must have one")
    if found[0].owner not in transaction.signers:
        raise InvalidInput(f"{found[0].owner}, the owner in this approval, has not signed it itself")
    return found[0]


def _approval(instruction: ChainInstruction, delegate: str) -> Approval | None:
    """Layouts: instructions 4 (source, delegate, owner) and 13 (source, mint, delegate, owner) of SPL Token."""
    if instruction.program != str(TOKEN_PROGRAM) or len(instruction.data) < 9:
        return None
    at = {APPROVE: 1, APPROVE_CHECKED: 2}.get(instruction.data[0])
    if at is None or len(instruction.accounts) < at + 2 or instruction.accounts[at] != delegate:
        return None
    return Approval(instruction.accounts[0], instruction.accounts[at + 1])
