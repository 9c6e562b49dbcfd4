"""Being asked to stop: SIGTERM lets the chunk under way finish, keeps what is done, and ends the process with 0."""

import contextlib
import signal
import threading
from collections.abc import Iterator

_asked = threading.Event()


class Stopped(SystemExit):
    """A study was asked to stop by SIGTERM. Finished runs are kept; uncaught, it ends the process with status 0."""

    def __init__(self) -> None:
        super().__init__(0)

    def __str__(self) -> str:
        return "stopped; finished runs are kept, the same command continues"


@contextlib.contextmanager
def stopping_in_order() -> Iterator[None]:
    """While inside, SIGTERM only asks; :func:`stop_if_asked` obeys. Without effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    before = signal.signal(signal.SIGTERM, lambda *_: _asked.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _asked.clear()


def stop_if_asked() -> None:
    """Raise Stopped if SIGTERM came: called where nothing is half done."""
    if _asked.is_set():
        raise Stopped
