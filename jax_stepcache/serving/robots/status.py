"""The status page, and what it asks for: sessions, latencies, skipped calls, films."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, PlainTextResponse, Response

from jax_stepcache.serving.robots.refused import Refused
from jax_stepcache.serving.robots.service import Service

_PAGE = Path(__file__).with_name("status.html")
# Nothing from elsewhere, and no script but the page's own.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def page() -> Response:
    """The page; it holds no numbers, and asks for them with the token if need be."""
    return FileResponse(_PAGE, headers={"content-security-policy": _POLICY})


def status(service: Service) -> dict[str, Any]:
    """What a server does, as JSON."""
    now = time.monotonic()
    return {
        "ready": service.ready,
        "compiled": [service.progress.done, service.progress.total],
        "draining": service.draining,
        "connections": service.connections,
        "waiting": service.worker.waiting(),
        "running": service.worker.running,
        "slots": service.settings.slots,
        "latencies": [round(x, 6) for x in service.metrics.latencies],
        "sessions": [
            {
                "id": held.name,
                "idle": round(now - held.used, 3),
                "steps": held.steps,
                "calls": held.calls,
                "skipped": held.skipped,
            }
            for held in service.sessions
        ],
    }


async def film_response(service: Service, session: str) -> Response:
    """A session's last film as raw RGB, its shape in a header.

    Args:
        service: what is served.
        session: the id.

    Returns:
        uint8 (F, H, W, 3) in C order, ``x-shape: F,H,W,3``; 404 without a session,
        429 while another is made: robots wait meanwhile; 503 when the server stops.
    """
    if service.filming:
        return PlainTextResponse("another film is on its way\n", 429)
    service.filming = True
    try:
        film = await service.film(session)
    except Refused as refused:
        return PlainTextResponse(f"{refused.message}\n", 503)
    finally:
        service.filming = False
    if film is None:
        return PlainTextResponse("there is no such session\n", 404)
    shape = ",".join(map(str, film.shape))
    return Response(
        film.tobytes(),
        media_type="application/octet-stream",
        headers={"x-shape": shape, "cache-control": "no-store"},
    )
