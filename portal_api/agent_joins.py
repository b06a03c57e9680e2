"""Joining: a machine shows a join token and that it has the private key, and gets a credential of its own."""

from datetime import datetime

from sqlalchemy.orm import Session

from market.agent_api import JoinAnswer, JoinRequest
from market.errors import Forbidden
from market.money import format_usdc
from market.signing import JOIN_TAG, verify
from portal_api.identity import tokens
from portal_api.identity.principals import Joiner
from portal_api.identity.tokens import TokenKind
from scheduler.supply import nodes, offers


def join(session: Session, joiner: Joiner, request: JoinRequest, now: datetime) -> JoinAnswer:
    """List the node and make its credential; the ones it had are revoked. Raises Forbidden.

    A node whose answer got lost may join again, even when the token is used up.
    """
    if not verify(request.public_key, JOIN_TAG, joiner.token.encode(), request.possession):
        raise Forbidden("the signature does not show that this machine has the private key")
    node = nodes.join(session, joiner.provider_id, request, now)
    if not tokens.joined_before(session, joiner.token_id, node.id) and not tokens.take_join_use(
        session, joiner.token_id
    ):
        raise Forbidden("this join token is used up", remedy="ask the provider for a new one")
    tokens.revoke_of_node(session, node.id, now)
    issued = tokens.issue(
        session,
        TokenKind.AGENT,
        now,
        name=request.name,
        provider_id=joiner.provider_id,
        node_id=node.id,
        issued_by=joiner.token_id,
    )
    listed = [
        f"{offer.model} at {format_usdc(offer.price_microusd_per_unit_hour)} USDC an hour"
        for offer in offers.of_node(session, node.id)
    ]
    return JoinAnswer(node_id=node.id, provider_id=joiner.provider_id, token=issued.text, offers=listed)
