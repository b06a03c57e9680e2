"""The express lane: the calls that a busy market is made of, without the framework's machinery in between.

A route is on it when all it takes is what this module knows how to give: the portal, who asks, a JSON body or the raw
request, headers, the last segment of its path but one, a choice in its query. It stays a route like the others, with
its place in the OpenAPI document; what it refuses, it refuses in the same words. A request that is in any way out of
the ordinary takes the framework's way.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, get_args

from annotated_types import MaxLen
from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from fastapi.security import SecurityScopes
from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from market.customer_api import IDEMPOTENCY_HEADER
from portal_api.identity.idempotency import KEY_MAX_CHARACTERS, required_key
from portal_api.identity.principals import PRINCIPALS, signed_in_member
from portal_api.portal import the_portal
from portal_api.problems import validation_refusal
from portal_api.strictness import JSON, StrictRequest, StrictRoute, require_acceptable

Give = Callable[[StrictRequest], Awaitable[object]]
"""What gives one argument of an endpoint."""


Place = tuple[str, str, str]
"""Method, and what stands before and after the one segment that differs; of a path that never differs, all and ""."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a route takes: by argument what gives it, and the headers that must be there with their longest length.

    segment: the argument that the path has, if any; queries: each ordinary query, and the arguments in it.
    """

    arguments: Mapping[str, Give]
    headers: Mapping[str, int]
    segment: str | None
    queries: Mapping[bytes, Mapping[str, object]]


class Lane:
    """One route's way: its endpoint, and what gives each of its arguments."""

    def __init__(self, route: StrictRoute, needs: Needs) -> None:
        self._route, self._needs = route, needs
        self._takes_json = route.body_field is not None
        self._status = route.status_code or 200

    def takes(self, request: StrictRequest) -> bool:
        """Whether the request is an ordinary one."""
        headers = request.headers
        return request.scope["query_string"] in self._needs.queries and all(
            0 < len(headers.get(name, "")) <= longest for name, longest in self._needs.headers.items()
        )

    async def __call__(self, request: StrictRequest, segment: str, send: Send) -> None:
        scope, receive, needs = request.scope, request.receive, self._needs
        scope["route"] = self._route
        require_acceptable(request.headers.get("accept", ""), self._route.produced)
        if self._takes_json:
            await request.read_json()
        arguments = {name: await give(request) for name, give in needs.arguments.items()}
        arguments |= needs.queries[scope["query_string"]]
        if needs.segment is not None:
            arguments[needs.segment] = segment
        answer = await self._route.endpoint(**arguments)
        if isinstance(answer, BaseModel):
            answer = Response(answer.model_dump_json(by_alias=True), self._status, media_type=JSON)
        await answer(scope, receive, send)


class Express:
    """Takes what has a lane, and leaves the rest to the application."""

    def __init__(self, app: ASGIApp, *, owner: Any, routes: Iterable[BaseRoute]) -> None:
        self._app, self._owner = app, owner
        self._lanes = dict(lanes(routes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lane, segment = self._lane(scope)
        request = StrictRequest(scope, receive) if lane is not None else None
        if lane is None or request is None or not lane.takes(request):
            await self._app(scope, receive, send)
            return
        scope["app"] = self._owner
        await lane(request, segment, send)

    def _lane(self, scope: Scope) -> tuple[Lane | None, str]:
        """The way of a path, and the segment that differs."""
        method, path = scope.get("method", ""), scope.get("path", "")
        if (lane := self._lanes.get((method, path, ""))) is not None:
            return lane, ""
        before, segment, after = _parted(path)
        return (self._lanes.get((method, before, after)) if segment and after else None), segment


def lanes(routes: Iterable[BaseRoute]) -> Iterator[tuple[Place, Lane]]:
    """Where each route is that is on it, and its way."""
    for route in routes:
        if isinstance(route, StrictRoute) and route.methods and len(route.methods) == 1:
            needs, place = _needs(route), _place(next(iter(route.methods)), route.path)
            if needs is not None and place is not None:
                yield place, Lane(route, needs)


def _place(method: str, path: str) -> Place | None:
    if "{" not in path:
        return method, path, ""
    before, _, after = _parted(path)
    return None if "{" in before or not after or "{" in after else (method, before, after)


def _parted(path: str) -> tuple[str, str, str]:
    """What stands before the last segment but one, that segment, and the last one."""
    path, _, after = path.rpartition("/")
    before, _, segment = path.rpartition("/")
    return before, segment, after


def _needs(route: StrictRoute) -> Needs | None:
    """What a route takes, that which refuses first; None when it takes something else as well."""
    takes = route.dependant
    if takes.cookie_params or takes.websocket_param_name or takes.response_param_name:
        return None
    if takes.background_tasks_param_name or _answers_otherwise(route):
        return None
    queries = _queries(takes.query_params)
    if queries is None or len(takes.path_params) > 1 or not all(map(_is_plain, takes.path_params)):
        return None
    arguments: dict[str, Give] = {}
    headers: dict[str, int] = {}
    for dependency in takes.dependencies:
        give = _give(dependency)
        if give is None or dependency.name is None:
            return None
        arguments[dependency.name] = give
        if dependency.call is required_key:
            headers[IDEMPOTENCY_HEADER] = KEY_MAX_CHARACTERS
    for header in takes.header_params:
        longest = _longest(header)
        if longest is None:
            return None
        headers[header.alias] = longest
        arguments[header.name] = _header(header.alias)
    if takes.body_params:
        [field, *more] = takes.body_params
        model = field.field_info.annotation
        if more or not (isinstance(model, type) and issubclass(model, BaseModel)):
            return None
        arguments[field.name] = _body(model)
    if takes.request_param_name:
        arguments[takes.request_param_name] = _itself
    segment = takes.path_params[0].name if takes.path_params else None
    return Needs(arguments, headers, segment, queries)


def _answers_otherwise(route: StrictRoute) -> bool:
    """Whether its answer is neither a model of its own nor a stream of events."""
    model = route.response_model
    return route.produced == JSON and not (isinstance(model, type) and issubclass(model, BaseModel))


def _queries(fields: Sequence[ModelField]) -> dict[bytes, dict[str, object]] | None:
    """Every query that is ordinary, for a choice or none at all."""
    if not fields:
        return {b"": {}}
    [field, *more] = fields
    choices = [kind for kind in get_args(field.field_info.annotation) if isinstance(kind, type)]
    chosen = [kind for kind in choices if issubclass(kind, Enum)]
    if more or len(chosen) != 1 or field.field_info.is_required():
        return None
    said = {f"{field.alias}={choice.value}".encode(): {field.name: choice} for choice in chosen[0]}
    return {b"": {field.name: field.get_default()}, **said}


def _is_plain(field: ModelField) -> bool:
    """Whether it is a text, however it reads."""
    return field.field_info.annotation is str and not field.field_info.metadata


def _give(dependency: Dependant) -> Give | None:
    call = dependency.call
    if call is the_portal:
        return the_portal
    if call is signed_in_member:
        scopes = SecurityScopes(list(dependency.own_oauth_scopes or ()))
        return lambda request: signed_in_member(request, scopes)
    if call is required_key:
        return _header(IDEMPOTENCY_HEADER)
    return call if call in PRINCIPALS.values() else None


def _body(model: type[BaseModel]) -> Give:
    async def give(request: StrictRequest) -> BaseModel:
        if not await request.body():
            raise validation_refusal([{"type": "missing", "loc": ("body",), "msg": "Field required"}], model)
        try:
            return model.model_validate(await request.json())
        except ValidationError as error:
            faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors(include_url=False)]
            raise validation_refusal(faults, model) from None

    return give


def _header(name: str) -> Give:
    async def give(request: StrictRequest) -> str:
        return request.headers[name]

    return give


def _longest(header: ModelField) -> int | None:
    """The most characters of a header that is a plain text and must be there."""
    if header.field_info.annotation is not str or not header.field_info.is_required():
        return None
    return next((one.max_length for one in header.field_info.metadata if isinstance(one, MaxLen)), None)


async def _itself(request: StrictRequest) -> StrictRequest:
    return request
