"""Models whose files the program reads itself."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Optional, Protocol

from ._errors import EdgeSlmError, call, text_of
from ._native import ffi, lib


class Source(Protocol):
    """The files of a model directory under their names in it, such as ``genai_config.json`` or ``onnx/model_q4.onnx``.

    They are read on the thread that loads the model, before the loading ends.
    """

    def size(self, name: str) -> Optional[int]:
        """How many bytes the file has; None where there is no such file."""

    def read(self, name: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes of the file from ``offset`` on; none where the file ends."""


@contextlib.contextmanager
def callbacks(source: Source) -> Iterator[Any]:
    """A ``slm_source`` that calls ``source``. In place of the library's error about it, what it raised is raised."""
    raised: list[BaseException] = []

    def size_of(_user_data: Any, name: Any, size: Any) -> int:
        try:
            found = source.size(text_of(name))
            if found is None:
                return int(lib.SLM_NOT_FOUND)
            size[0] = found
            return int(lib.SLM_OK)
        except BaseException as exception:
            raised.append(exception)
            return int(lib.SLM_IO)

    def read(_user_data: Any, name: Any, offset: int, buffer: Any, length: int) -> int:
        try:
            data = source.read(text_of(name), offset, length)
            if len(data) <= length:
                ffi.memmove(buffer, data, len(data))
            return len(data)
        except BaseException as exception:
            raised.append(exception)
            return -1

    native = ffi.new("slm_source *")
    call(lib.slm_source_init, native, ffi.sizeof("slm_source"))
    # Named, because cffi frees a callback that nothing refers to.
    native_size, native_read = ffi.callback("slm_source_size", size_of), ffi.callback("slm_source_read", read)
    native.size, native.read = native_size, native_read
    try:
        yield native
    except EdgeSlmError:
        if raised:
            raise raised[0] from None
        raise
