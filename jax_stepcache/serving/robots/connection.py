"""One robot's websocket, from the handshake to its end."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import traceback
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from jax_stepcache.serving.robots.admission import is_same_site, knows_token
from jax_stepcache.serving.robots.asked import Asked, asked
from jax_stepcache.serving.robots.refused import Refused
from jax_stepcache.serving.robots.service import Service
from jax_stepcache.serving.robots.waiting import Answered
from jax_stepcache.serving.robots.wire import pack, unpack

_log = logging.getLogger("jax_stepcache.robots")
_INTERNAL = 1011
_RESET = "reset successful"


async def converse(service: Service, socket: WebSocket) -> None:
    """Serves a connection until its client has gone.

    Args:
        service: what is behind all connections.
        socket: not accepted yet.
    """
    denied = _denied(service, socket)
    if denied is not None:
        await socket.send_denial_response(denied)
        return
    service.connections += 1
    conversation = Conversation(service, socket)
    try:
        await socket.accept()
        await socket.send_bytes(pack(service.policy.metadata))
        await conversation.run()
    except WebSocketDisconnect:
        pass
    finally:
        service.connections -= 1
        conversation.forget()


def _denied(service: Service, socket: WebSocket) -> PlainTextResponse | None:
    if not knows_token(socket, service.settings.token):
        return PlainTextResponse("show the token\n", 401)
    if not is_same_site(socket):
        return PlainTextResponse("pages of other sites may not\n", 403)
    if service.draining:
        return PlainTextResponse("stopping\n", 503)
    if service.connections >= service.settings.max_connections:
        return PlainTextResponse("too many connections\n", 503)
    return None


class Conversation:
    """A connection's part of the service: its session, and its last request."""

    def __init__(self, service: Service, socket: WebSocket) -> None:
        """Begins.

        Args:
            service: what is behind all connections.
            socket: accepted.
        """
        self._service, self._socket = service, socket
        # For a robot that names no session; nobody else can name this one: ids are of
        # printable characters, and the blank in it is none.
        self._own = f"connection\N{NO-BREAK SPACE}{secrets.token_hex(16)}"
        # RoboArena's reset names none, and means that of the last request.
        self._last = self._own
        self._previous: float | None = None

    async def run(self) -> None:
        """Answers frame after frame."""
        frame = await self._socket.receive()
        while frame["type"] != "websocket.disconnect":
            begun = time.monotonic()
            # Heard meanwhile: whoever goes away waits for no answer.
            coming = asyncio.create_task(self._socket.receive())
            answering = asyncio.create_task(self._answer(frame, begun))
            try:
                await asyncio.wait(
                    {coming, answering}, return_when=asyncio.FIRST_COMPLETED
                )
                if coming.done() and coming.result()["type"] == "websocket.disconnect":
                    return
                if not await answering:
                    return
                self._previous = time.monotonic() - begun
                frame = await coming
            finally:
                for task in (coming, answering):
                    task.cancel()
                await asyncio.gather(coming, answering, return_exceptions=True)

    def forget(self) -> None:
        """The connection has ended, and with it the session that has no other name."""
        held = self._service.sessions.find(self._own)
        if held is not None:
            self._service.sessions.drop(held)

    async def _answer(self, frame: Any, begun: float) -> bool:
        """Answers a frame, and says whether the connection goes on."""
        self._service.answering += 1
        try:
            return await self._answered(frame, begun)
        finally:
            self._service.answering -= 1

    async def _answered(self, frame: Any, begun: float) -> bool:
        name = secrets.token_hex(6)
        try:
            request = self._read(frame)
            name = request.name
            reply = await self._reply(request)
            took = time.monotonic() - begun
            self._service.metrics.request(took)
            _log.info(
                "answered",
                extra={"request": name, "session": self._last, "seconds": took},
            )
            if isinstance(reply, str):
                await self._socket.send_text(reply)
            else:
                await self._socket.send_bytes(reply)
        except Refused as refused:
            await self._refuse(refused, name)
            return refused.kind != "internal"
        except (WebSocketDisconnect, asyncio.CancelledError):
            raise
        except Exception:
            _log.exception("internal error", extra={"request": name})
            said = "the server failed; its log tells more"
            if self._service.settings.debug:
                said = traceback.format_exc(limit=-30)
            await self._refuse(Refused("internal", said), name)
            return False
        return True

    def _read(self, frame: Any) -> Asked:
        data = frame.get("bytes")
        if data is None:
            raise Refused("bad_message", "send msgpack in binary frames, no text")
        # Our uvicorn has not let it in; other servers of the application have.
        most = self._service.settings.max_message
        if len(data) > most:
            said = f"the frame has {len(data)} bytes; at most {most} are taken"
            raise Refused("bad_message", said)
        try:
            message = unpack(data)
        except ValueError as error:
            raise Refused("bad_message", str(error)) from error
        try:
            return asked(message, self._service.settings, self._service.policy.options)
        except (ValueError, TypeError) as error:
            raise Refused("bad_request", str(error)) from error

    async def _reply(self, request: Asked) -> bytes | str:
        if request.endpoint == "reset":
            session = request.session or self._last
            await self._service.reset(session, request.deadline)
            return _RESET
        self._last = request.session or self._own
        answer = await self._service.ask(
            request, self._last, own=request.session is None
        )
        if request.endpoint == "infer" and not request.stats:
            return pack(answer.actions)
        return pack(self._said(answer, request.stats))

    def _said(self, answer: Answered, stats: bool) -> dict[str, Any]:
        timing = {"infer_ms": answer.infer * 1e3}
        said: dict[str, Any] = {
            "actions": answer.actions,
            "policy_timing": dict(timing),
            "server_timing": timing,
        }
        if self._previous is not None:
            timing["prev_total_ms"] = self._previous * 1e3
        if stats:
            said["stats"] = {
                "model_calls": int(answer.computed.sum()),
                "steps": len(answer.computed),
                # No array: openpi's broker takes all arrays for rows of actions.
                "computed": answer.computed.tolist(),
                "queue_ms": answer.waited * 1e3,
                "together": answer.together,
            }
        return said

    async def _refuse(self, refused: Refused, name: str) -> None:
        self._service.metrics.error(refused.kind)
        _log.warning(
            "refused: %s",
            refused.message,
            extra={"request": name, "session": self._last, "kind": refused.kind},
        )
        await self._socket.send_text(refused.frame(name))
        if refused.kind == "internal":
            await self._socket.close(
                _INTERNAL, "internal error, told in the last frame"
            )
