"""Failures of the library as exceptions."""

from __future__ import annotations

from typing import Any, Callable

from ._native import ffi, lib


class EdgeSlmError(Exception):
    """A call failed. The subclasses tell kinds apart that a program may act on.

    Attributes:
        status: the number of the kind, one of SLM_... in edgeslm.h.
        name: its name, such as ``invalid_model``.
        message: what happened.
        file: the file in which the error is, or an empty string.
        place: the graph node, tensor or other place in the file, or an empty string.
        hint: what can be done about it, or an empty string.
    """

    def __init__(self, status: int, message: str, file: str = "", place: str = "", hint: str = "") -> None:
        self.status = status
        self.name: str = ffi.string(lib.slm_status_name(status)).decode()
        self.message, self.file, self.place, self.hint = message, file, place, hint
        super().__init__()
        # What a copy is made of, for pickle.
        self.args: tuple[Any, ...] = (status, message, file, place, hint)

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.file, self.place, self.message or self.name) if part)
        return f"{text} ({self.hint})" if self.hint else text


class NotFoundError(EdgeSlmError, FileNotFoundError):
    """A file or directory does not exist."""


class InvalidModelError(EdgeSlmError):
    """A model file is damaged or contradicts itself."""


class UnsupportedError(EdgeSlmError):
    """The model is well formed but uses something that the library does not implement."""


class InvalidArgumentError(EdgeSlmError, ValueError):
    """An argument is outside its range."""


class MemoryBudgetError(EdgeSlmError, MemoryError):
    """The work would need more memory than the budget."""


class ContextLengthError(EdgeSlmError):
    """Prompt and answer do not fit the model's context."""


class TemplateError(EdgeSlmError):
    """The chat template is damaged, raised an error, or ran for too long."""


class GrammarError(EdgeSlmError, ValueError):
    """A grammar or JSON schema is damaged, cannot be satisfied, or is beyond the limits; or a text does not follow it."""


class EngineUnavailableError(EdgeSlmError):
    """The engine or execution provider that was asked for is missing, too old or cannot run here."""


class CancelledError(EdgeSlmError):
    """The caller cancelled the work."""


class DeadlineError(EdgeSlmError, TimeoutError):
    """The deadline passed."""


class BusyError(EdgeSlmError):
    """The session or stream is in use by another thread, or the session by an open stream."""


class ClosedError(EdgeSlmError):
    """The object was closed."""

    def __init__(self, what: str) -> None:
        super().__init__(lib.SLM_INVALID_ARGUMENT, f"the {what} is closed")
        self.args = (what,)


_KINDS: dict[int, type[EdgeSlmError]] = {
    lib.SLM_NOT_FOUND: NotFoundError,
    lib.SLM_INVALID_MODEL: InvalidModelError,
    lib.SLM_UNSUPPORTED: UnsupportedError,
    lib.SLM_INVALID_ARGUMENT: InvalidArgumentError,
    lib.SLM_MEMORY_BUDGET: MemoryBudgetError,
    lib.SLM_CONTEXT_LENGTH: ContextLengthError,
    lib.SLM_TEMPLATE: TemplateError,
    lib.SLM_GRAMMAR: GrammarError,
    lib.SLM_CANCELLED: CancelledError,
    lib.SLM_DEADLINE_EXCEEDED: DeadlineError,
    lib.SLM_BUSY: BusyError,
    lib.SLM_ENGINE_UNAVAILABLE: EngineUnavailableError,
}


def text_of(string: Any) -> str:
    """The text of a ``slm_str`` or ``slm_string``."""
    data: bytes = ffi.buffer(string.data, string.len)[:]
    return data.decode()


def call(function: Callable[..., int], *arguments: Any) -> None:
    """Calls a fallible function with a place for its error behind the arguments; raises what it stores there."""
    error = ffi.new("slm_error **")
    status = function(*arguments, error)
    if status == lib.SLM_OK:
        return
    try:
        parts = [lib.slm_error_message, lib.slm_error_file, lib.slm_error_place, lib.slm_error_hint]
        texts = [text_of(part(error[0])) for part in parts]
    finally:
        lib.slm_error_free(error[0])
    raise _KINDS.get(status, EdgeSlmError)(status, *texts)


def take(function: Callable[..., int], *arguments: Any) -> str:
    """Calls a function that stores an owned text in front of its error, and takes the text."""
    string = ffi.new("slm_string *")
    call(function, *arguments, string)
    try:
        return text_of(string)
    finally:
        lib.slm_string_free(string)
