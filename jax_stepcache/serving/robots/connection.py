"""One robot's websocket, from the handshake to its end."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import secrets
import time
import traceback
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from jax_stepcache.serving.robots.admission import is_same_site, knows_token
from jax_stepcache.serving.robots.asked import Asked, asked
from jax_stepcache.serving.robots.policy import message_of, unavailable_of
from jax_stepcache.serving.robots.refused import Refused
from jax_stepcache.serving.robots.service import Service
from jax_stepcache.serving.robots.waiting import Answered
from jax_stepcache.serving.robots.wire import pack, unpack

_log = logging.getLogger("jax_stepcache.robots")
_INTERNAL, _REFUSED, _STOPPING = 1011, 1008, 1012
_RESET = "reset successful"
# Frames that a client may send before it has heard the replies to those before.
_AHEAD = 32


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
    service.hanging_up.add(conversation.close)
    try:
        await socket.accept()
        await socket.send_bytes(pack(service.policy.metadata))
        await conversation.run()
    except WebSocketDisconnect:
        pass
    finally:
        service.connections -= 1
        service.hanging_up.discard(conversation.close)
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
    """A connection's part of the service: its session, and its frames."""

    def __init__(self, service: Service, socket: WebSocket) -> None:
        """Begins.

        Args:
            service: what is behind all connections.
            socket: accepted.
        """
        self._service, self._socket = service, socket
        secret = secrets.token_hex(16)
        # For a robot that names no session; nobody else can name this one: ids are of
        # printable characters, and the blank in it is none.
        self._own = f"connection\N{NO-BREAK SPACE}{secret}"
        # RoboArena's reset names none, and means that of the last request.
        self._last = self._own
        # Of another secret: names of requests are told.
        self._name, self._requests = secrets.token_hex(4), 0
        self._previous: float | None = None
        self._ahead: collections.deque[tuple[Any, float]] = collections.deque()
        self._over = False

    async def run(self) -> None:
        """Listens, and answers meanwhile: whoever goes away waits for no answer."""
        answering: asyncio.Task | None = None
        try:
            while True:
                frame = await self._socket.receive()
                if frame["type"] == "websocket.disconnect" or self._over:
                    return
                self._ahead.append((frame, time.monotonic()))
                if self._is_too_far_ahead():
                    await self._hang_up()
                    return
                if answering is None or answering.done():
                    answering = asyncio.create_task(self._answer())
        finally:
            if answering is not None:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)

    async def close(self) -> None:
        """Ends the connection, for the server is stopping."""
        self._over = True
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it ends already
            await self._socket.close(_STOPPING, "the server is stopping")

    def forget(self) -> None:
        """The connection has ended, and with it the session that has no other name."""
        held = self._service.sessions.find(self._own)
        if held is not None:
            self._service.sessions.drop(held)

    def _is_too_far_ahead(self) -> bool:
        """Whether more waits than one client may have in our memory."""
        if len(self._ahead) == 1:
            return False
        size = sum(_size(frame) for frame, _ in self._ahead)
        return len(self._ahead) > _AHEAD or size > self._service.settings.max_message

    async def _hang_up(self) -> None:
        self._over = True
        self._service.metrics.error("overloaded")
        _log.warning(
            "refused: too many frames before their replies",
            extra={"session": self._last, "kind": "overloaded"},
        )
        await self._socket.close(_REFUSED, "wait for replies before you send more")

    async def _answer(self) -> None:
        """Answers the frames that are there."""
        self._service.answering += 1
        try:
            while self._ahead and not self._over:
                frame, came = self._ahead.popleft()
                self._over = not await self._answered(frame, came) or self._over
                self._previous = time.monotonic() - came
        except WebSocketDisconnect:  # the listener is told as well
            self._over = True
        finally:
            self._service.answering -= 1

    async def _answered(self, frame: Any, came: float) -> bool:
        """Answers a frame, and says whether the connection goes on."""
        self._requests += 1
        name = f"{self._name}-{self._requests}"
        try:
            reply = await self._reply(self._read(frame), name, came)
            await self._send(reply)
            took = time.monotonic() - came
            if reply is not _RESET:  # for which nothing is computed
                self._service.metrics.request(took)
            _log.info(
                "answered",
                extra={"request": name, "session": self._last, "seconds": took},
            )
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
        policy = self._service.policy
        try:
            return asked(
                message,
                self._service.settings,
                policy.options,
                keys=message_of(policy),
                unavailable=unavailable_of(policy),
            )
        except (ValueError, TypeError) as error:
            raise Refused("bad_request", str(error)) from error

    async def _reply(self, request: Asked, name: str, came: float) -> bytes | str:
        if request.endpoint == "reset":
            session = request.session or self._last
            await self._service.reset(session, request.deadline, came)
            return _RESET
        self._last = request.session or self._own
        answer = await self._service.ask(
            request, self._last, own=request.session is None, name=name, came=came
        )
        if request.endpoint == "infer" and not request.stats:
            return pack(answer.actions)
        return pack(self._said(answer, request.stats))

    def _said(self, answer: Answered, stats: bool) -> dict[str, Any]:
        # As openpi's: what the model took, and what the server did with its waiting.
        timing = {"infer_ms": (answer.waited + answer.infer) * 1e3}
        said: dict[str, Any] = {
            "actions": answer.actions,
            "policy_timing": {"infer_ms": answer.infer * 1e3},
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
        await self._send(refused.frame(name))
        if refused.kind == "internal":
            with contextlib.suppress(RuntimeError):  # it ends already
                await self._socket.close(
                    _INTERNAL, "internal error, told in the last frame"
                )

    async def _send(self, said: bytes | str) -> None:
        try:
            if isinstance(said, str):
                await self._socket.send_text(said)
            else:
                await self._socket.send_bytes(said)
        except RuntimeError as error:
            if not self._over:
                raise
            # We have closed it while this was on its way, and nothing has failed.
            raise WebSocketDisconnect from error


def _size(frame: Any) -> int:
    """Bytes that a frame takes here; a character may take four."""
    return len(frame.get("bytes") or b"") + 4 * len(frame.get("text") or "")
