"""Calls that end when the program is interrupted."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Callable

from ._errors import call
from ._native import ffi, lib


def new_cancel() -> Any:
    """A flag that ends calls when it is signalled. It is freed when nothing refers to it."""
    flag = ffi.new("const slm_cancel **")
    call(lib.slm_cancel_new, flag)
    return ffi.gc(flag[0], lib.slm_cancel_free)


def interruptible(work: Callable[[], None], cancel: Any) -> None:
    """Runs ``work``, which ends soon after ``cancel`` is signalled, as ``KeyboardInterrupt`` does."""
    # Only the main thread is interrupted, and only while it runs Python.
    if threading.current_thread() is not threading.main_thread():
        work()
        return
    worker = ThreadPoolExecutor(1, "edgeslm-call")
    try:
        running = worker.submit(work)
        try:
            running.result()
        except BaseException:
            lib.slm_cancel_signal(cancel)
            wait([running])
            raise
    finally:
        worker.shutdown(wait=False)
