"""Clients that do not read what they are sent, or ask for ever: they are cut."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_FRAGMENTS = 1024  # of a message
_TOO_BIG = 1009
_LINGER = 4  # times the bytes that a message may have


def reading_clients(patience: float) -> type[WebSocketsSansIOProtocol]:
    """Makes uvicorn's protocol for clients that read.

    uvicorn waits for whoever reads nothing, and so does the operating system: such a
    client would hold its connection, and what is to be sent, for ever.

    Args:
        patience: seconds that a reply may wait for room in the buffers, and that a
            message in fragments may take to come.

    Returns:
        The protocol, for ``ws=`` of uvicorn.
    """

    class Reading(WebSocketsSansIOProtocol):
        # Bytes that are still taken from whoever was told that it is too many.
        _unread: int | None = None
        _rest: asyncio.TimerHandle | None = None  # of a message that has begun

        def data_received(self, data: bytes) -> None:
            if self._unread is not None:
                self._unread -= len(data)
                if self._unread < 0:
                    self.transport.abort()
                return
            super().data_received(data)
            # Empty fragments, pings and pongs in between are signs of life, and no end.
            # In a single frame there are none, and whoever sends it is cut off by ours.
            if self.frames and self._rest is None:
                self._rest = self.loop.call_later(patience, self.transport.abort)

        def handle_parser_exception(self) -> None:
            sent = self.conn.close_sent
            if sent is None or sent.code != _TOO_BIG:
                super().handle_parser_exception()
                return
            # Whoever still sends when the connection is closed hears no reason, but
            # that it is reset: what is on its way is read, and dropped.
            self._unread = _LINGER * self.config.ws_max_size
            # uvicorn's own, which the end of the application does not overtake.
            self.close_timer = self.loop.call_later(patience, self.transport.abort)
            code, reason = int(sent.code), sent.reason
            self.queue.put_nowait(
                {"type": "websocket.disconnect", "code": code, "reason": reason}
            )
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.stop_keepalive()
            if self.transport.can_write_eof():
                self.transport.write_eof()

        def send_receive_event_to_app(self) -> None:
            super().send_receive_event_to_app()
            self._forget_rest()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_rest()
            super().connection_lost(exc)

        def _forget_rest(self) -> None:
            if self._rest is not None:
                self._rest.cancel()
            self._rest = None

        async def send(self, message: Any) -> None:
            # What is awaited ends with the connection as well.
            timer = None
            if not self.writable.is_set():
                loop = asyncio.get_running_loop()
                timer = loop.call_later(patience, self.transport.abort)
            try:
                await super().send(message)
            finally:
                if timer is not None:
                    timer.cancel()

        def handle_cont(self, event: Any) -> None:
            # The bytes of a message are bounded, and empty fragments have none.
            if len(self.frames) >= _FRAGMENTS and not self.close_sent:
                self.frames = []
                self.conn.fail(_TOO_BIG, f"more than {_FRAGMENTS} fragments")
                self.handle_parser_exception()
            if not self.close_sent:
                super().handle_cont(event)

        def keepalive_timeout(self) -> None:
            super().keepalive_timeout()
            self.transport.abort()

        def shutdown(self) -> None:
            super().shutdown()
            if not self.writable.is_set():
                self.transport.abort()

    return Reading


def asking_clients(patience: float) -> type[H11Protocol]:
    """Makes uvicorn's protocol for pages, whose clients ask and read.

    uvicorn waits for ever for whoever has not asked yet, and counts its connection.

    Args:
        patience: seconds that a request, handshakes among them, may take to come, and
            an answer to find room in the buffers.

    Returns:
        The protocol, for ``http=`` of uvicorn.
    """

    class Asking(H11Protocol):
        _asks: asyncio.TimerHandle | None = None
        _reads: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            super().connection_made(transport)
            self._wait_for_request()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait_for_request()

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._stop()
            super().handle_websocket_upgrade(event)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._reads = self.loop.call_later(patience, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._reads is not None:
                self._reads.cancel()

        def _wait_for_request(self) -> None:
            # What comes bit by bit is one request all the while.
            if self.transport.get_protocol() is not self:
                return
            if self.cycle is not None and not self.cycle.response_complete:
                if self._asks is not None:
                    self._asks.cancel()
                self._asks = None
            elif self._asks is None:
                self._asks = self.loop.call_later(patience, self.transport.abort)

        def _stop(self) -> None:
            for timer in (self._asks, self._reads):
                if timer is not None:
                    timer.cancel()

    return Asking
