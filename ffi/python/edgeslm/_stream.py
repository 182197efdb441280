"""Answers, piece by piece."""

from __future__ import annotations

import asyncio
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, AsyncIterator, Iterator, Optional, Union

from ._errors import ClosedError, call, text_of
from ._native import ffi, lib


@dataclass(frozen=True)
class Statistics:
    """Counts and times of one answer; times in seconds, rates in tokens a second."""

    prompt_tokens: int
    reused_tokens: int
    generated_tokens: int
    cache_bytes: int
    time_to_first_token: Optional[float]
    prefill_time: float
    decode_time: float
    prefill_rate: float
    decode_rate: float
    drafted_tokens: int
    accepted_tokens: int

    @classmethod
    def from_c(cls, statistics: Any) -> Statistics:
        first = statistics.time_to_first_token
        return cls(
            statistics.prompt_tokens, statistics.reused_tokens, statistics.generated_tokens, statistics.cache_bytes,
            first if first >= 0 else None, statistics.prefill_time, statistics.decode_time, statistics.prefill_rate,
            statistics.decode_rate, statistics.drafted_tokens, statistics.accepted_tokens,
        )


@dataclass(frozen=True)
class PromptProgress:
    """A chunk of the prompt has been computed."""

    done: int
    total: int


@dataclass(frozen=True)
class Token:
    """A token of the answer, with logarithms of probabilities where they were asked for."""

    id: int
    log_probability: Optional[float]
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Text:
    """More of the answer's text."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The answer is complete. ``reason`` is one of stop_token, stop_string, grammar, max_tokens, context_length, cancelled,
    deadline. ``completion`` says whether it is whole: complete; shortened, closed along its grammar's shortest path; cut; or
    expired."""

    reason: str
    seed: int
    statistics: Statistics
    completion: str


Event = Union[PromptProgress, Token, Text, Finished]

_REASONS = {
    lib.SLM_FINISH_STOP_TOKEN: "stop_token",
    lib.SLM_FINISH_STOP_STRING: "stop_string",
    lib.SLM_FINISH_MAX_TOKENS: "max_tokens",
    lib.SLM_FINISH_CONTEXT_LENGTH: "context_length",
    lib.SLM_FINISH_CANCELLED: "cancelled",
    lib.SLM_FINISH_DEADLINE: "deadline",
    lib.SLM_FINISH_GRAMMAR: "grammar",
}

COMPLETIONS = {
    lib.SLM_COMPLETION_COMPLETE: "complete",
    lib.SLM_COMPLETION_SHORTENED: "shortened",
    lib.SLM_COMPLETION_CUT: "cut",
    lib.SLM_COMPLETION_EXPIRED: "expired",
}


class Stream:
    """An answer as it is made: an iterator over its text, for ``for`` and for ``async for``.

    The session is in use until the stream is closed: at its end, by ``close()``, by leaving a ``with`` block, or when it is
    collected. ``KeyboardInterrupt`` while a piece is awaited, and cancelling the task in asyncio, end the answer.
    """

    def __init__(self, handle: Any, cancel: Any, with_log_probabilities: bool) -> None:
        self._handle = handle
        self._cancel = cancel
        self._with_log_probabilities = with_log_probabilities
        self._worker: Optional[ThreadPoolExecutor] = None
        self._finished: Optional[Finished] = None
        # Held by a call on the handle, and while it is freed.
        self._in_use = threading.Lock()
        self._finalizer = weakref.finalize(self, lib.slm_stream_free, handle)
        # A thread may still be in a call when the interpreter ends.
        self._finalizer.atexit = False

    def next_event(self) -> Optional[Event]:
        """The next event; None after the last."""
        if not self._finalizer.alive:
            if self._finished is not None:
                return None
            raise ClosedError("stream")
        # Only the main thread is interrupted, and only while it runs Python.
        if threading.current_thread() is not threading.main_thread():
            return self._settle(self._step())
        try:
            event = self._start().result()
        except BaseException:
            self.close()
            raise
        return self._settle(event)

    async def next_event_async(self) -> Optional[Event]:
        """As :meth:`next_event`, without blocking the event loop."""
        if not self._finalizer.alive:
            if self._finished is not None:
                return None
            raise ClosedError("stream")
        try:
            event = await asyncio.wrap_future(self._start())
        except GeneratorExit:
            # The event loop is gone.
            self.close()
            raise
        except BaseException:
            await self.aclose()
            raise
        return self._settle(event)

    def _start(self) -> Future[Optional[Event]]:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "edgeslm-stream")
        return self._worker.submit(self._step)

    def _step(self) -> Optional[Event]:
        with self._in_use:
            if not self._finalizer.alive:
                raise ClosedError("stream")
            pointer = ffi.new("slm_event **")
            call(lib.slm_stream_next, self._handle, pointer)
            return self._event(pointer[0]) if pointer[0] != ffi.NULL else None

    def _settle(self, event: Optional[Event]) -> Optional[Event]:
        if isinstance(event, Finished):
            self._finished = event
            self.close()
        return event

    def _event(self, event: Any) -> Optional[Event]:
        if event.kind == lib.SLM_EVENT_TEXT:
            return Text(text_of(event.text))
        if event.kind == lib.SLM_EVENT_TOKEN:
            top = tuple((event.top[i].token, event.top[i].log_probability) for i in range(event.top_count))
            return Token(event.token, event.log_probability if self._with_log_probabilities else None, top)
        if event.kind == lib.SLM_EVENT_FINISHED:
            reason = _REASONS.get(event.finish_reason, "unknown")
            completion = COMPLETIONS.get(event.completion, "unknown")
            return Finished(reason, event.seed, Statistics.from_c(event.statistics), completion)
        # Kinds that a newer library adds are told as progress that says nothing.
        return PromptProgress(event.prompt_done, event.prompt_total)

    def events(self) -> Iterator[Event]:
        """All events from here on."""
        while (event := self.next_event()) is not None:
            yield event

    async def events_async(self) -> AsyncIterator[Event]:
        """All events from here on, without blocking the event loop."""
        while (event := await self.next_event_async()) is not None:
            yield event

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while (event := self.next_event()) is not None:
            if isinstance(event, Text):
                return event.text
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while (event := await self.next_event_async()) is not None:
            if isinstance(event, Text):
                return event.text
        raise StopAsyncIteration

    def text(self) -> str:
        """The rest of the answer's text."""
        return "".join(self)

    def cancel(self) -> None:
        """Ends the answer soon, from any thread; it then finishes with the reason ``cancelled``."""
        lib.slm_cancel_signal(self._cancel)

    @property
    def finished(self) -> Optional[Finished]:
        """How the answer ended; None before."""
        return self._finished

    def close(self) -> None:
        """Ends the answer where it is, from any thread. The session can be used again."""
        lib.slm_cancel_signal(self._cancel)
        # A call in progress notices soon.
        with self._in_use:
            self._finalizer()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.shutdown(wait=False)

    async def aclose(self) -> None:
        """As :meth:`close`, without blocking the event loop while a call in progress ends."""
        lib.slm_cancel_signal(self._cancel)
        worker = self._worker
        if worker is None:
            self.close()
        else:
            await asyncio.shield(asyncio.wrap_future(worker.submit(self.close)))

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<edgeslm.Stream, {'open' if self._finalizer.alive else 'closed'}>"
