"""The faces of one chain: several RPC servers that may each be away, slow or behind, asked as one."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from billing.chains.port import ChainError, ChainRefused, ChainUnavailable

WITNESSES: Final = 2
"""How many faces must say what money depends on before it is believed; all of them where there are fewer."""
SLOWER_SECONDS: Final = 0.5
"""How long the other faces may take to be told what one has taken."""
T = TypeVar("T")
Ask = Callable[[str], Coroutine[Any, Any, T]]


class Faces:
    """urls: in the order of preference; whichever answered last is asked first. Threads may share it."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = tuple(urls)
        self._first = 0

    async def one(self, ask: Ask[T]) -> T:
        """The first usable answer; a face that gives none is passed over. Raises ChainRefused, ChainUnavailable."""
        failures = []
        first = self._first
        for index in (*range(first, len(self._urls)), *range(first)):
            try:
                answer = await ask(self._urls[index])
            except ChainUnavailable as error:
                failures.append(error)
            else:
                self._first = index
                return answer
        raise _all_of(failures)

    async def all(self, tell: Ask[T]) -> T:
        """Tell every face; one that takes it is enough. Raises ChainRefused if all that answer refuse it."""
        told = [asyncio.create_task(tell(url)) for url in self._urls]
        try:
            for next_told in asyncio.as_completed(told):
                if await _settled(next_told):
                    await asyncio.wait(told, timeout=SLOWER_SECONDS)
                    break
        finally:
            for task in told:
                task.cancel()
            results = await asyncio.gather(*told, return_exceptions=True)
        taken = [result for result in results if not isinstance(result, BaseException)]
        if not taken:
            raise _worst(results)
        return taken[0]

    async def agree(self, ask: Ask[bool]) -> bool:
        """Whether enough faces say yes and none says no. Raises ChainUnavailable while too few have answered."""
        answers = await self._answers(ask)
        if any(answer is False for answer in answers):
            return False
        if sum(answer is True for answer in answers) >= self._enough:
            return True
        raise _worst(answers)

    async def witnesses(self, ask: Ask[T]) -> list[T]:
        """Every answer there is, enough of them. Raises ChainUnavailable while too few have answered."""
        answers = await self._answers(ask)
        given = [answer for answer in answers if not isinstance(answer, BaseException)]
        if len(given) < self._enough:
            raise _worst(answers)
        return given

    async def verdict(self, ask: Ask[T | None]) -> T | None:
        """What enough faces say alike and none otherwise; one that says None does not know. Raises ChainUnavailable."""
        said = [answer for answer in await self.witnesses(ask) if answer is not None]
        return said[0] if len(said) >= self._enough and all(answer == said[0] for answer in said) else None

    @property
    def _enough(self) -> int:
        return min(WITNESSES, len(self._urls))

    async def _answers(self, ask: Ask[T]) -> list[T | BaseException]:
        return await asyncio.gather(*(ask(url) for url in self._urls), return_exceptions=True)


async def _settled(task: Awaitable[object]) -> bool:
    try:
        await task
    except ChainError:
        return False
    return True


def _worst(results: Sequence[object]) -> BaseException:
    """What went wrong, the unknown outcome before the refusal; a fault of ours before both."""
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in errors:
        if not isinstance(error, ChainError):
            return error
    away = [error for error in errors if isinstance(error, ChainUnavailable)]
    if away:
        return _all_of(away)
    return next(error for error in errors if isinstance(error, ChainRefused))


def _all_of(failures: Sequence[ChainUnavailable]) -> ChainUnavailable:
    return failures[0] if len(failures) == 1 else ChainUnavailable("; ".join(str(failure) for failure in failures))
