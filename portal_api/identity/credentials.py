"""Looking credentials up: by digest, remembered for a few seconds, so that a revoked one is dead everywhere soon."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from market.clock import Clock
from market.errors import Unauthenticated
from portal_api.identity.tokens import Credential, digest, well_formed

REMEMBERED_SECONDS = 3.0
REMEMBERED_MAX = 10_000
_REMEDY = "send `Authorization: Bearer ...` with a token of this market; `gridbay login` stores one"

Lookup = Callable[[str], Awaitable[Credential | None]]


class Credentials:
    """lookup: reads one digest's credential from the database. monotonic: the clock of the remembering."""

    def __init__(self, lookup: Lookup, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lookup, self._clock, self._monotonic = lookup, clock, monotonic
        self._remembered: OrderedDict[str, tuple[Credential, float]] = OrderedDict()

    async def of_header(self, authorization: str | None) -> Credential:
        """The credential of an Authorization header. Raises Unauthenticated."""
        scheme, _, text = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise Unauthenticated("this needs a token", remedy=_REMEDY)
        return await self.of_text(text.strip())

    async def of_text(self, text: str) -> Credential:
        """The valid credential of a token's text. Raises Unauthenticated."""
        if not well_formed(text):
            raise Unauthenticated("this is not a token of a Gridbay market, or it is mistyped", remedy=_REMEDY)
        credential = await self._known(digest(text))
        if credential is None or not credential.valid(self._clock.now()):
            raise Unauthenticated("this token is unknown here, has expired or was revoked", remedy=_REMEDY)
        return credential

    def forget(self, token_id: str) -> None:
        """Drop what is remembered of a token, because it was just revoked here."""
        for key in [key for key, (credential, _) in self._remembered.items() if credential.token_id == token_id]:
            del self._remembered[key]

    async def _known(self, sha256: str) -> Credential | None:
        remembered = self._remembered.get(sha256)
        if remembered is not None and self._monotonic() - remembered[1] < REMEMBERED_SECONDS:
            return remembered[0]
        # The age counts from before the read, so that it is never older than it says.
        asked_at = self._monotonic()
        credential = await self._lookup(sha256)
        self._remembered.pop(sha256, None)
        if credential is not None:
            self._remembered[sha256] = (credential, asked_at)
            while len(self._remembered) > REMEMBERED_MAX:
                self._remembered.popitem(last=False)
        return credential
