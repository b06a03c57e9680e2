"""The portal's application: every HTTP face of the market but storage, in one ASGI application for each worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

# Importing the handlers registers who hears what: a message that is published here finds its subscribers.
import billing.handlers
import scheduler.handlers
from infra.ground import Ground, ground
from market.agent_api import REPORT_BODY_MAX_BYTES
from portal_api import openapi, problems
from portal_api.express import Express
from portal_api.graphql.router import create_routers as create_graphql_routers
from portal_api.middleware import Envelope
from portal_api.portal import Portal
from portal_api.routes import (
    account,
    adjustments,
    agents,
    allowance,
    analytics,
    budgets,
    discounts,
    epochs,
    errors,
    explanations,
    health,
    job_streams,
    jobs,
    money,
    offers,
    operators,
    proofs,
    providers,
    rounds,
    shares,
    treasury,
    workdirs,
)

HANDLERS = (billing.handlers, scheduler.handlers)
BODY_MAX_BYTES = REPORT_BODY_MAX_BYTES
ROUTERS = (
    health,
    errors,
    account,
    offers,
    jobs,
    job_streams,
    explanations,
    workdirs,
    epochs,
    money,
    budgets,
    discounts,
    providers,
    agents,
    allowance,
    operators,
    treasury,
    adjustments,
    rounds,
    shares,
    proofs,
    analytics,
)


class PortalApplication(FastAPI):
    """FastAPI with our OpenAPI document, behind what every request meets first: the envelope, then the express lane."""

    def __init__(self, *, secure: bool, **options: Any) -> None:
        super().__init__(**options)
        express = Express(
            super().__call__, owner=self, routes=[route for module in ROUTERS for route in module.router.routes]
        )
        self._front = Envelope(express, body_max_bytes=BODY_MAX_BYTES, secure=secure)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._front(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        return openapi.document(self)


def create_app(base: Ground | None = None) -> FastAPI:
    """The application on that ground, or on this process's own."""
    portal = Portal(base or ground())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        portal.start()
        try:
            yield
        finally:
            await portal.stop()

    app = PortalApplication(
        secure=portal.base.settings.public_url.startswith("https://"),
        title="Gridbay",
        version="1.0.0",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
    )
    app.state.portal = portal
    problems.install(app)
    for module in ROUTERS:
        app.include_router(module.router)
    for router in create_graphql_routers():
        app.include_router(router, include_in_schema=False)
    return app


def _operation_id(route: APIRoute) -> str:
    """The SDK's verb: what the route's function is called."""
    return route.name
