"""Being asked to stop: SIGTERM lets the chunk under way finish, keeps what is done, and ends the process with 0."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

_asked = False
# A plain flag: a handler may interrupt anything, itself too, and a lock held there would never be released.


class Stopped(SystemExit):
    """A study was asked to stop by SIGTERM. Finished runs are kept; uncaught, it ends the process with status 0."""

    def __init__(self) -> None:
        super().__init__(0)

    def __str__(self) -> str:
        return "stopped; finished runs are kept, the same command continues"


def _ask(*_: Any) -> None:
    global _asked
    _asked = True


@contextlib.contextmanager
def stopping_in_order() -> Iterator[None]:
    """Within this context SIGTERM sets a flag, and :func:`stop_if_asked` raises if it is set.

    Outside the main thread this context changes nothing.
    """
    global _asked
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None for one that is not Python's
        if before is not _ask:  # an outer block, if there is one, must still see the request
            _asked = False


def asked_to_stop() -> bool:
    """Whether SIGTERM came."""
    return _asked


def stop_if_asked() -> None:
    """Raise Stopped if SIGTERM came. Call this between two steps, where no work would be lost."""
    if _asked:
        raise Stopped
