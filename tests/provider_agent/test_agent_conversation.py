"""The conversation goes the way that the environment says, and waits for nobody without end."""

import asyncio
import socket
from functools import partial

import aiohttp
import pytest

from market.errors import InvalidInput
from market.signing import NodeKey
from provider_agent import conversation
from provider_agent.conversation import Conversation, Unreachable

PORTAL = "https://market.example"
BOUND_SECONDS = 20.0


def test_a_portal_that_does_not_even_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets: list[socket.socket] = []

    def small(address: aiohttp.AddrInfoType) -> socket.socket:
        """It holds less than the request."""
        sockets.append(socket.socket(address[0], address[1]))
        sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return sockets[-1]

    async def upload() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            portal = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with Conversation(portal, "gba_x", NodeKey.generate(), timeout_seconds=0.2) as talk:
                with pytest.raises(Unreachable):
                    await talk.put_log("att_1", 0, b"x" * 1_000_000)
        # Now that nobody is there any more, the rest of it is given up.
        while any(one.fileno() >= 0 for one in sockets):  # noqa: ASYNC110 (bounded below)
            await asyncio.sleep(0.01)

    monkeypatch.setattr(aiohttp, "TCPConnector", partial(aiohttp.TCPConnector, socket_factory=small))
    asyncio.run(asyncio.wait_for(upload(), BOUND_SECONDS))


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://other:1"}, None),
        ({"HTTPS_PROXY": "http://name:word@proxy:3128"}, "http://name:word@proxy:3128"),
        ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"ALL_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "proxy:3128", "NO_PROXY": "market.example"}, None),
    ],
)
def test_a_proxy_is_the_one_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxy: str | None
) -> None:
    _set(monkeypatch, variables)
    assert conversation._proxy_to(PORTAL) == proxy


def test_a_proxy_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, {"ALL_PROXY": "socks5://proxy:1080"})
    with pytest.raises(InvalidInput, match="of the kind socks5"):
        conversation._proxy_to(PORTAL)


def _set(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        for spelt in (name, name.lower()):
            monkeypatch.delenv(spelt, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
