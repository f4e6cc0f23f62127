"""Clients that do not read what they are sent: their connections are cut."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

_FRAGMENTS = 1024  # of a message


def reading_clients(patience: float) -> type[WebSocketsSansIOProtocol]:
    """Makes uvicorn's protocol for clients that read.

    uvicorn waits for whoever reads nothing, and so does the operating system: such a
    client would hold its connection, and what is to be sent, for ever.

    Args:
        patience: seconds that a reply may wait for room in the buffers.

    Returns:
        The protocol, for ``ws=`` of uvicorn.
    """

    class Reading(WebSocketsSansIOProtocol):
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

        def handle_cont(self, event: Frame) -> None:
            # The bytes of a message are bounded, and empty fragments have none.
            if len(self.frames) >= _FRAGMENTS and not self.close_sent:
                self.frames = []
                self.conn.fail(1009, f"more than {_FRAGMENTS} fragments")
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
