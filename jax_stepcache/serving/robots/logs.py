"""Logs of a server: one JSON object a line."""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

_log = logging.getLogger("jax_stepcache.robots")
_request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
_FIELDS = ("request", "session", "kind", "seconds", "sessions", "place", "at")
_REFUSED = "ASGI callable returned without completing handshake."


class JsonLines(logging.Formatter):
    """Makes a line of JSON of a record."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        said: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= {
            name: getattr(record, name) for name in _FIELDS if hasattr(record, name)
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)


@contextlib.contextmanager
def on_behalf_of(request: str) -> Iterator[None]:
    """Warnings that Python code gives in the block are logged with a request's id.

    Args:
        request: the id.
    """
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """As `warnings.showwarning`, which writes text that is no line of the log."""
    del file, line
    extra = {"kind": category.__name__, "place": f"{filename}:{lineno}"}
    request = _request.get(None)
    if request is not None:
        extra["request"] = request
    _log.warning("%s", message, extra=extra)


def _is_news(record: logging.LogRecord) -> bool:
    """Not what uvicorn says, as an error, of each client that was refused."""
    return record.getMessage() != _REFUSED


def log_to_stderr(level: int = logging.INFO) -> None:
    """Sends what the server and uvicorn log to standard error, as JSON.

    So do all warnings of Python code in this process go, each once.

    Args:
        level: the least that is shown.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(_is_news)
    for name in ("jax_stepcache.robots", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    warnings.showwarning = _log_warning
