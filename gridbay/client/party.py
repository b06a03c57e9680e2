"""What the SDKs of all parties share: a connection with a token, and answers that may say more than is known here."""

from types import TracebackType
from typing import Self

from pydantic import BaseModel, ConfigDict

from gridbay.client.patience import OnRetry
from gridbay.client.transport import DEFAULT_PATIENCE_SECONDS, Transport


class Answer(BaseModel):
    """An answer of the portal; a newer market may say more than this SDK knows."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Party:
    """A market at a URL, as seen with somebody's token. Use it in a `with` block, from any number of threads.

    Every method raises a MarketError: the market's refusal, or Unavailable when it cannot be reached.
    on_retry hears why something is asked again.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience_seconds: float = DEFAULT_PATIENCE_SECONDS,
        on_retry: OnRetry | None = None,
    ) -> None:
        self._transport = Transport(url, token, patience_seconds=patience_seconds, on_retry=on_retry)

    @property
    def url(self) -> str:
        return self._transport.url

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
