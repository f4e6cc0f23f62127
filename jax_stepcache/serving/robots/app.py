"""The ASGI application: the websocket, and what is seen from outside."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from jax_stepcache.serving.robots import metrics
from jax_stepcache.serving.robots.admission import is_same_site, knows_token
from jax_stepcache.serving.robots.asked import options_allowed
from jax_stepcache.serving.robots.connection import converse
from jax_stepcache.serving.robots.policy import message_of, unavailable_of
from jax_stepcache.serving.robots.service import Service
from jax_stepcache.serving.robots.status import film_response, page, status

_Handler = Callable[[Request], Awaitable[Response]]


def application(service: Service) -> Starlette:
    """Makes the application; it starts and ends the service.

    Args:
        service: what is served.

    Returns:
        An ASGI application, for uvicorn or Ray Serve; ``state.service`` is the service.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.begin()
        yield
        await service.end()

    def guarded(handler: _Handler) -> _Handler:
        async def checked(request: Request) -> Response:
            # A film costs robots' time, and numbers are nobody else's.
            if not is_same_site(request):
                return PlainTextResponse("pages of other sites may not\n", 403)
            if not knows_token(request, service.settings.token):
                return PlainTextResponse("show the token\n", 401)
            return await handler(request)

        return checked

    async def robot(socket: WebSocket) -> None:
        await converse(service, socket)

    async def alive(_: Request) -> Response:
        if service.failure is not None:
            return PlainTextResponse("failed\n", 503)
        return PlainTextResponse("OK\n")

    async def ready(_: Request) -> Response:
        if service.failure is not None:
            return PlainTextResponse("failed\n", 503)
        if service.ready and not service.draining:
            return PlainTextResponse("ready\n")
        word = "stopping" if service.draining else "compiling"
        return PlainTextResponse(f"{word}\n", 503)

    async def counted(_: Request) -> Response:
        return Response(service.metrics.text(), media_type=metrics.TYPE)

    async def policy(_: Request) -> Response:
        said: dict[str, Any] = {
            "metadata": dict(service.policy.metadata),
            "message": dict(message_of(service.policy)),
            "options": options_allowed(service.policy.options, service.settings),
            "unavailable": dict(unavailable_of(service.policy)),
        }
        return JSONResponse(said)

    async def state(_: Request) -> Response:
        return JSONResponse(status(service))

    async def film(request: Request) -> Response:
        return await film_response(service, request.path_params["session"])

    async def front(_: Request) -> Response:
        return page()

    app = Starlette(
        routes=[
            WebSocketRoute("/{path:path}", robot),
            Route("/", front),
            Route("/healthz", alive),
            Route("/readyz", ready),
            Route("/metrics", guarded(counted)),
            Route("/policy", guarded(policy)),
            Route("/status", guarded(state)),
            Route("/film/{session:path}", guarded(film)),
        ],
        lifespan=lifespan,
    )
    app.state.service = service
    return app
