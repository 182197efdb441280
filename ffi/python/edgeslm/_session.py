"""Sessions and what they find: labels, decisions and the fields of a text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Sequence, Union

from ._calibration import Calibration
from ._errors import text_of
from ._grammar import Extractor
from ._handle import Handle
from ._interrupt import interruptible, new_cancel
from ._native import ffi, lib
from ._options import SCORES, Keep, Message, choice, generate_options, milliseconds, session_options
from ._stream import COMPLETIONS, Statistics, Stream

if TYPE_CHECKING:
    import numpy
    import numpy.typing
    from typing_extensions import Unpack

    from ._model import Model
    from ._options import GenerateOptions, SessionOptions


@dataclass(frozen=True)
class Classification:
    """Which label fits best, and a probability for each; they sum to 1."""

    label: str
    index: int
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Decision:
    """A class with its calibrated probability, and whether to rely on it."""

    label: str
    index: int
    probabilities: tuple[float, ...]
    """One a class; they sum to 1."""
    abstain: bool
    """The class is too improbable for the risk that was accepted: a person or a larger model should decide."""

    @property
    def probability(self) -> float:
        """Of the class."""
        return self.probabilities[self.index]


@dataclass(frozen=True)
class Field:
    """A single value of an extraction. ``support`` is ``found``, in the bytes from ``start`` to ``end`` of the text in UTF-8;
    ``missing``; ``unsupported``, a value that the text does not contain; or ``chosen``, one that the schema names."""

    path: str
    value: Any
    support: str
    start: Optional[int] = None
    end: Optional[int] = None


@dataclass(frozen=True)
class Extraction:
    """What was found in a text: ``value`` has None for every field that the text does not contain."""

    value: dict[str, Any]
    fields: tuple[Field, ...]
    completion: str


class Session(Handle):
    """A conversation with a model and its KV cache: a prompt that begins as an earlier one did costs only what is new.

    One thread at a time may use it. The methods that answer return a :class:`Stream` and take these options:
    ``max_tokens``, ``stop`` (texts), ``stop_tokens``, ``ignore_stop_tokens``, ``log_probabilities`` (of how many most probable
    tokens), ``deadline`` (seconds), ``sampling``, ``grammar`` and ``draft_tokens`` (how many are guessed at a time from what stood
    before: the same answer, sooner where it repeats its prompt).
    """

    _what = "session"

    def __init__(self, model: Model, **options: Unpack[SessionOptions]) -> None:
        keep, handle = Keep(), ffi.new("slm_session **")
        model._call(lib.slm_session_new, session_options(keep, **options), handle)
        self._own(handle[0], lib.slm_session_free)
        self._vocabulary_size = model.vocabulary_size

    def turn(self, message: str, **options: Unpack[GenerateOptions]) -> Stream:
        """Answers the user's next message in the conversation that the session keeps."""
        keep = Keep()
        return self._open(lib.slm_turn_stream, keep, keep.bytes(message), options)

    def chat(self, messages: Sequence[Message], **options: Unpack[GenerateOptions]) -> Stream:
        """Answers a whole conversation, which the model's chat template turns into a prompt."""
        keep = Keep()
        return self._open(lib.slm_chat_stream, keep, (keep.messages(messages), len(messages)), options)

    def generate(self, prompt: str, **options: Unpack[GenerateOptions]) -> Stream:
        """Answers a prompt that is taken as it is: it must not hold what a stranger wrote."""
        keep = Keep()
        return self._open(lib.slm_stream_new, keep, keep.bytes(prompt), options)

    def _open(self, function: Any, keep: Keep, prompt: tuple[Any, int], options: GenerateOptions) -> Stream:
        stream, cancel = ffi.new("slm_stream **"), new_cancel()
        self._call(function, *prompt, generate_options(keep, cancel, **options), stream)
        return Stream(stream[0], cancel, options.get("log_probabilities") is not None)

    def classify(
        self,
        prompt: Union[str, Sequence[Message]],
        labels: Sequence[str],
        *,
        score: str = "joint",
        deadline: Optional[float] = None,
    ) -> Classification:
        """Scores labels as continuations of a prompt, or as answers to a conversation.

        ``score`` is ``joint`` (the probability that the model goes on with the label, normalised over the labels) or
        ``trie_normalised`` (cheaper: as if only the labels could be generated).
        """
        keep, cancel = Keep(), new_cancel()
        options = keep.options("classify")
        options.score, options.deadline_ms = choice("score", SCORES, score), milliseconds(deadline)
        options.cancel = cancel
        probabilities, best = ffi.new("float[]", max(1, len(labels))), ffi.new("size_t *")
        function: Any
        if isinstance(prompt, str):
            function, arguments = lib.slm_classify, keep.bytes(prompt)
        else:
            function, arguments = lib.slm_chat_classify, (keep.messages(prompt), len(prompt))
        texts = keep.texts(labels)
        interruptible(
            lambda: self._call(function, *arguments, texts, len(labels), options, probabilities, best), cancel
        )
        return Classification(labels[best[0]], int(best[0]), tuple(probabilities)[: len(labels)])

    def decide(
        self,
        prompt: Union[str, Sequence[Message]],
        calibration: Calibration,
        *,
        deadline: Optional[float] = None,
    ) -> Decision:
        """Decides for the class of a prompt or of a conversation, by a calibration for this form of prompt."""
        keep, cancel = Keep(), new_cancel()
        options = keep.options("classify")
        options.deadline_ms, options.cancel = milliseconds(deadline), cancel
        count = calibration.facts.class_count
        decision, probabilities = ffi.new("slm_decision *"), ffi.new("float[]", count)
        size = ffi.sizeof("slm_decision")
        function: Any
        if isinstance(prompt, str):
            function, arguments = lib.slm_decide, keep.bytes(prompt)
        else:
            function, arguments = lib.slm_chat_decide, (keep.messages(prompt), len(prompt))
        with calibration._using() as native:
            interruptible(
                lambda: self._call(function, *arguments, native, options, decision, size, probabilities), cancel
            )
        index = int(decision.class_index)
        return Decision(calibration.classes[index], index, tuple(probabilities), bool(decision.abstain))

    def extract(self, extractor: Extractor, source: str, **options: Unpack[GenerateOptions]) -> Extraction:
        """Takes the extractor's fields out of ``source`` and looks each value up in it. There is no ``grammar`` among the
        options."""
        keep, cancel = Keep(), new_cancel()
        native = generate_options(keep, cancel, **options)
        value, fields = ffi.new("slm_string *"), ffi.new("slm_string *")
        completion = ffi.new("int32_t *")
        text, length = keep.bytes(source)
        try:
            with extractor._using() as handle:
                interruptible(
                    lambda: self._call(lib.slm_extract, handle, text, length, native, value, fields, completion), cancel
                )
            found = json.loads(text_of(value)), json.loads(text_of(fields))
        finally:
            lib.slm_string_free(value)
            lib.slm_string_free(fields)
        described = tuple(Field(**field) for field in found[1])
        return Extraction(found[0], described, COMPLETIONS.get(completion[0], "unknown"))

    def logits(self, tokens: Sequence[int], last: int = 1) -> numpy.typing.NDArray[numpy.float32]:
        """The logits after each of the last ``last`` tokens: an array ``[last, vocabulary]``. Needs numpy."""
        import numpy

        array, cancel = ffi.new("uint32_t[]", list(tokens) or [0]), new_cancel()
        rows = numpy.empty((last if 0 < last <= len(tokens) else 1, self._vocabulary_size), numpy.float32)
        buffer = ffi.from_buffer("float[]", rows)
        interruptible(
            lambda: self._call(lib.slm_session_logits, array, len(tokens), last, cancel, buffer, rows.size), cancel
        )
        return rows

    @property
    def history(self) -> list[dict[str, str]]:
        """The conversation that the session keeps; assign to replace it."""
        result: list[dict[str, str]] = json.loads(self._take(lib.slm_session_history))
        return result

    @history.setter
    def history(self, messages: Sequence[Message]) -> None:
        keep = Keep()
        self._call(lib.slm_session_set_history, keep.messages(messages), len(messages))

    def reset(self) -> None:
        """Begins a new conversation; what is forgotten is overwritten in memory."""
        self._call(lib.slm_session_reset)

    def rewind(self, length: int) -> None:
        """Forgets the cached tokens from position ``length`` on."""
        self._call(lib.slm_session_rewind, length)

    def __len__(self) -> int:
        """How many tokens are in the KV cache."""
        length = ffi.new("uint64_t *")
        self._call(lib.slm_session_length, length)
        return int(length[0])

    def __bool__(self) -> bool:
        # An empty cache does not make a session false.
        return True

    @property
    def statistics(self) -> Statistics:
        """Counts and times of the last answer."""
        statistics = ffi.new("slm_statistics *")
        self._call(lib.slm_session_statistics, statistics, ffi.sizeof("slm_statistics"))
        return Statistics.from_c(statistics)

    def __enter__(self) -> Session:
        return self
