"""Who may come in: a token, compared in constant time, no pages of other sites."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection

_log = logging.getLogger("jax_stepcache.robots")
_SCHEMES = ("bearer", "api-key")  # the second is openpi's


def knows_token(connection: HTTPConnection, token: str | None) -> bool:
    """Whether a client shows the token; there may be none to show.

    The log tells of whoever does not, with the address.

    Args:
        connection: the client's request.
        token: the server's, or None.
    """
    if token is None:
        return True
    scheme, _, shown = connection.headers.get("authorization", "").partition(" ")
    # Compared whatever the scheme is, and as bytes: text must be ASCII.
    same = hmac.compare_digest(shown.strip().encode(), token.encode())
    if same and scheme.lower() in _SCHEMES:
        return True
    said = "wrong" if "authorization" in connection.headers else "no"
    address = connection.client
    at = None if address is None else f"{address.host}:{address.port}"
    _log.warning("refused: %s token", said, extra={"at": at})
    return False


def know_hosts(app: Starlette, hosts: Sequence[str]) -> None:
    """Lets in only who calls the server by a name that it has.

    A page whose name leads to 127.0.0.1 is of the same site as the server, so that its
    browser lets it in; but it calls the server by that name.

    Args:
        app: the application; others are answered with status 400 from now on.
        hosts: the names, ``"*"`` for any.
    """
    app.add_middleware(
        TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False
    )


def is_same_site(connection: HTTPConnection) -> bool:
    """Whether a browser's page, if it is one, came from this server.

    A page from anywhere may open a websocket to 127.0.0.1, or let its browser ask for
    pages; its browser says where the page is from. Robots say nothing.
    """
    origin = connection.headers.get("origin")
    # Of pictures, frames and links, which have no origin.
    fetched = connection.headers.get("sec-fetch-site", "none")
    try:
        site = None if origin is None else urlsplit(origin).netloc
    except ValueError:  # such as http://[
        return False
    same = site is None or site == connection.headers.get("host")
    return same and fetched in ("same-origin", "none")
