"""Objects that own a handle of the library."""

from __future__ import annotations

import threading
import weakref
from contextlib import contextmanager
from typing import Any, Callable, Iterator

from ._errors import ClosedError, call, take


class Handle:
    """An object that owns a handle of the library."""

    _what = ""

    def _own(self, handle: Any, free: Any) -> None:
        self._raw = handle
        # Reentrant, since a signal's handler may close what the main thread uses.
        self._lock = threading.RLock()
        self._calls = 0
        self._closed = False
        self._finalizer = weakref.finalize(self, free, handle)
        # Threads may still be in calls when the interpreter ends.
        self._finalizer.atexit = False

    @contextmanager
    def _using(self) -> Iterator[Any]:
        """The handle, which is not freed before the block ends."""
        with self._lock:
            if self._closed:
                raise ClosedError(self._what)
            self._calls += 1
        try:
            yield self._raw
        finally:
            with self._lock:
                self._calls -= 1
                if self._closed and self._calls == 0:
                    self._finalizer()

    def _call(self, function: Callable[..., int], *arguments: Any) -> None:
        with self._using() as handle:
            call(function, handle, *arguments)

    def _take(self, function: Callable[..., int], *arguments: Any) -> str:
        with self._using() as handle:
            return take(function, handle, *arguments)

    def close(self) -> None:
        """Gives up what the library holds, once no call of another thread uses it; no effect the second time."""
        with self._lock:
            self._closed = True
            if self._calls == 0:
                self._finalizer()

    def __repr__(self) -> str:
        return f"<edgeslm.{type(self).__name__}, {'closed' if self._closed else 'open'}>"

    def __exit__(self, *_exception: object) -> None:
        self.close()
