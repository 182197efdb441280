"""What is compiled from a description of answers: grammars and extractors."""

from __future__ import annotations

from typing import Any

from ._handle import Handle
from ._native import ffi, lib


class Grammar(Handle):
    """What answers may look like; made by a :class:`Model`. Any number of threads and sessions of the model may use it."""

    _what = "grammar"

    def __init__(self, handle: Any) -> None:
        self._own(handle, lib.slm_grammar_free)

    def __enter__(self) -> Grammar:
        return self

    def shared(self) -> Any:
        """The handle in C, which lasts as long as the result even where another thread closes the grammar."""
        handle = ffi.new("slm_grammar **")
        self._call(lib.slm_grammar_clone, handle)
        return ffi.gc(handle[0], lib.slm_grammar_free)


class Extractor(Handle):
    """Which fields are wanted of a text; made by a :class:`Model`."""

    _what = "extractor"

    def __init__(self, handle: Any) -> None:
        self._own(handle, lib.slm_extractor_free)

    def __enter__(self) -> Extractor:
        return self
