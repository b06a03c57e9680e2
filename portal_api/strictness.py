"""What every route of ours refuses before its own code runs: bodies that are no JSON, parameters it does not know."""

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import Receive, Scope

from market import strict_json
from market.errors import FieldError
from market.faults import shown, unknown
from market.strict_json import NotJson
from portal_api.problems import Malformed, NotAcceptable, UnsupportedMediaType, refusal_at
from portal_api.streams import MEDIA_TYPE as EVENTS
from portal_api.streams import EventStream

JSON = "application/json"
PARAMETERS_MAX = 50


class StrictRequest(Request):
    """A request whose JSON was read strictly."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self._value: Any = None

    async def read_json(self) -> None:
        """Raises UnsupportedMediaType, Malformed, InvalidInput."""
        body = await self.body()
        given = _media_type(self.headers.get("content-type", ""))
        if body and given != JSON and not given.endswith("+json"):
            raise UnsupportedMediaType(
                f"the body is sent as {shown(given)}" if given else "the body comes without a Content-Type",
                remedy=f"send Content-Type: {JSON}",
            )
        try:
            self._value = strict_json.loads(body) if body else None
        except NotJson as error:
            raise Malformed(f"the body is not JSON: {error}") from None

    async def json(self) -> Any:
        return self._value


class StrictRoute(APIRoute):
    """A route that takes JSON as RFC 8259 has it, and only the parameters it names, each as often as it may."""

    @property
    def produced(self) -> str:
        """The media type of what it answers."""
        return EVENTS if self.response_class is EventStream else JSON

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        fields = [field for field in get_flat_params(self.dependant) if isinstance(field.field_info, params.Query)]
        # A list may be said several times.
        known = {field.alias: str(field.field_info.annotation).startswith("list") for field in fields}
        takes_json = self.body_field is not None

        async def strict(request: Request) -> Response:
            checked = StrictRequest(request.scope, request.receive)
            require_acceptable(request.headers.get("accept", ""), self.produced)
            if request.scope["query_string"]:
                faults = list(_wrong_parameters(request, known))
                if faults:
                    raise refusal_at(faults)
            if takes_json:
                await checked.read_json()
            return await handle(checked)

        return strict


def _wrong_parameters(request: Request, known: dict[str, bool]) -> Iterator[FieldError]:
    """known: by name, whether it may be said several times."""
    said = Counter(name for name, _ in request.query_params.multi_items())
    for name, count in list(said.items())[:PARAMETERS_MAX]:
        if name not in known:
            detail, meant = unknown(name, list(known))
            yield FieldError("", detail, "unknown_field", meant, "query", shown(name))
        elif count > 1 and not known[name]:
            yield FieldError("", "it is said several times; say it once", "twice", "", "query", name)


def require_acceptable(accept: str, produced: str) -> None:
    """Raise NotAcceptable when an Accept header is there and leaves out what is answered; problems are always sent."""
    if not accept:
        return
    family = produced.partition("/")[0]
    wanted = [_media_type(part) for part in accept.split(",") if not _is_refused(part)]
    if not {"*/*", f"{family}/*", produced}.intersection(wanted):
        raise NotAcceptable(f"what is answered here is {produced}", remedy=f"send Accept: {produced}")


def _is_refused(part: str) -> bool:
    """Whether it says q=0."""
    parameters = [word.strip().replace(" ", "") for word in part.split(";")[1:]]
    return any(word.startswith("q=0") and not word.removeprefix("q=0").strip(".0") for word in parameters)


def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()
