"""Credentials: their form, what is stored of them, and how soon a revoked one is dead."""

import asyncio
import dataclasses
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from market.clock import ManualClock
from market.errors import InvalidInput, NotFound, Unauthenticated
from portal_api.identity import tokens
from portal_api.identity.bootstrap import create_organization
from portal_api.identity.credentials import REMEMBERED_SECONDS, Credentials
from portal_api.identity.tables import Token
from portal_api.identity.tokens import Credential, Role, Scope, TokenKind


@given(kind=st.sampled_from(TokenKind), place=st.integers(0, 41), character=st.characters(codec="ascii"))
def test_one_changed_character_is_noticed_without_asking_anybody(kind: TokenKind, place: int, character: str) -> None:
    text = tokens.generate(kind)
    assert tokens.well_formed(text)
    changed = text[:place] + character + text[place + 1 :]
    assert tokens.well_formed(changed) == (changed == text)


def test_only_the_digest_of_a_token_is_stored(session: Session, clock: ManualClock) -> None:
    organization = create_organization(session, "acme", clock.now())
    issued = tokens.issue(
        session, TokenKind.CUSTOMER, clock.now(), name="ci", organization_id=organization.id, role=Role.MEMBER
    )
    row = session.execute(select(*Token.__table__.columns).where(Token.id == issued.row.id)).one()
    assert issued.text[8:] not in repr(row)
    found = tokens.find(session, [tokens.digest(issued.text)])[tokens.digest(issued.text)]
    assert (found.organization_id, found.role) == (organization.id, "member")
    assert Scope.BILLING_WRITE not in found.scopes


def test_a_token_never_has_more_than_its_role(session: Session, clock: ManualClock) -> None:
    organization = create_organization(session, "acme", clock.now())
    with pytest.raises(InvalidInput, match="jobs:write"):
        tokens.issue(
            session,
            TokenKind.CUSTOMER,
            clock.now(),
            name="x",
            organization_id=organization.id,
            role=Role.VIEWER,
            scopes=[Scope.JOBS_WRITE],
        )


def test_an_organization_revokes_its_own_tokens_only(session: Session, clock: ManualClock) -> None:
    mine, other = (create_organization(session, name, clock.now()) for name in ("mine", "other"))
    token = tokens.issue(
        session, TokenKind.CUSTOMER, clock.now(), name="x", organization_id=mine.id, role=Role.OWNER
    ).row
    with pytest.raises(NotFound):
        tokens.revoke(session, other.id, token.id, clock.now())
    tokens.revoke(session, mine.id, token.id, clock.now())
    assert tokens.list_of_organization(session, mine.id) == []


def test_a_join_token_is_used_as_often_as_it_says(session: Session, clock: ManualClock) -> None:
    issued = tokens.issue(session, TokenKind.JOIN, clock.now(), name="x", provider_id="prv_1", uses_left=2)
    assert [tokens.take_join_use(session, issued.row.id) for _ in range(3)] == [True, True, False]
    endless = tokens.issue(session, TokenKind.JOIN, clock.now(), name="x", provider_id="prv_1")
    assert all(tokens.take_join_use(session, endless.row.id) for _ in range(3))


def test_a_revoked_token_is_dead_within_seconds_and_an_expired_one_at_once(clock: ManualClock) -> None:
    text = tokens.generate(TokenKind.OPERATOR)
    expires = clock.now() + timedelta(hours=1)
    known = Credential("tok_1", TokenKind.OPERATOR, None, None, None, None, frozenset(), expires, None)
    stored, reads, moment = {tokens.digest(text): known}, [0], [0.0]

    async def lookup(sha256: str) -> Credential | None:
        reads[0] += 1
        return stored.get(sha256)

    async def scenario() -> None:
        credentials = Credentials(lookup, clock, lambda: moment[0])
        header = f"Bearer {text}"
        assert await credentials.of_header(header) == known
        stored[tokens.digest(text)] = dataclasses.replace(known, revoked_at=clock.now())
        assert await credentials.of_header(header) == known
        assert reads == [1], "it was remembered"
        moment[0] = REMEMBERED_SECONDS
        with pytest.raises(Unauthenticated):
            await credentials.of_header(header)
        stored[tokens.digest(text)] = known
        credentials.forget("tok_1")
        assert await credentials.of_header(header) == known
        clock.advance(timedelta(hours=1))
        with pytest.raises(Unauthenticated):
            await credentials.of_header(header)
        for bad in (None, "", "Bearer", "Basic abc", f"Bearer {text[:-1]}x", f"Bearer {tokens.generate(known.kind)}"):
            with pytest.raises(Unauthenticated):
                await credentials.of_header(bad)

    asyncio.run(scenario())
    assert REMEMBERED_SECONDS <= 5
