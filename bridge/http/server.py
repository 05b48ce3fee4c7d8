"""uvicorn as the service runs it: in the service's own loop, and quick to end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette


class Server(uvicorn.Server):
    """Serves an application of `create_app` on a listening socket until `stop`.

    uvicorn waits for open connections before it ends the application's lifespan, and a live page's stream never ends by
    itself: so the streams are ended first. What then still hangs has `grace` seconds."""

    def __init__(self, app: Starlette, *, grace: int = 5, proxies: str | None = None) -> None:
        """`proxies`: addresses whose X-Forwarded-For is believed (uvicorn's forwarded_allow_ips); None: nobody's."""
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=proxies is not None,
                forwarded_allow_ips=proxies,
                timeout_graceful_shutdown=grace,
                timeout_keep_alive=30,
                h11_max_incomplete_event_size=64 * 1024,
            )
        )
        self._app = app

    def stop(self) -> None:
        """Takes no more requests and lets those that run end. Harmless to repeat."""
        self._app.state.desk.hub.close()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the service's: it has more to end than this."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError when the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.listen(2048)
    sock.setblocking(False)
    return sock
