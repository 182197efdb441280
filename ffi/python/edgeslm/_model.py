"""Models and sessions."""

from __future__ import annotations

import json
import os
import threading
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Optional, Sequence, Union

from ._errors import ClosedError, call, take, text_of
from ._interrupt import interruptible, new_cancel
from ._native import ffi, lib
from ._options import Keep, Message, Sampling, generate_options, milliseconds, model_options, session_options
from ._source import Source, callbacks
from ._stream import COMPLETIONS, Statistics, Stream

if TYPE_CHECKING:
    import numpy
    import numpy.typing
    from typing_extensions import Unpack

    from ._options import GenerateOptions, ModelOptions, SessionOptions

_MODES = {"prompt": lib.SLM_TOKENIZE_PROMPT, "continuation": lib.SLM_TOKENIZE_CONTINUATION, "plain": lib.SLM_TOKENIZE_PLAIN}
_SCORES = {"joint": lib.SLM_SCORE_JOINT, "trie_normalised": lib.SLM_SCORE_TRIE_NORMALISED}


def _choice(what: str, choices: Mapping[str, int], name: str) -> int:
    if name not in choices:
        raise ValueError(f"there is no {what} {name!r}; there are {', '.join(choices)}")
    return choices[name]


@dataclass(frozen=True)
class MemoryEstimate:
    """What loading a model and running one session takes, in bytes."""

    weights: int
    cache: int
    scratch: int
    text: int
    total: int


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
class CalibrationFacts:
    """What a calibration tells of itself."""

    class_count: int
    label_count: int
    examples: int
    """How many it was fitted to."""
    threshold: float
    """A decision with a lower probability abstains; above 1 all do, 0 none."""
    risk: float
    """The share of wrong decisions that was accepted; 0 where none was named."""
    confidence: float
    """The probability with which that is kept to."""
    log_loss: float
    """The mean negative log-likelihood of the examples' classes in cross-validation, in nats."""


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


class _Handle:
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


class Grammar(_Handle):
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


class Extractor(_Handle):
    """Which fields are wanted of a text; made by a :class:`Model`."""

    _what = "extractor"

    def __init__(self, handle: Any) -> None:
        self._own(handle, lib.slm_extractor_free)

    def __enter__(self) -> Extractor:
        return self


class Model(_Handle):
    """A loaded model. Any number of threads may use it; its sessions keep it loaded.

    >>> with Model("models/llama-3.2-1b") as model, model.session() as session:  # doctest: +SKIP
    ...     for text in session.turn("Is the door open?"):
    ...         print(text, end="", flush=True)
    """

    _what = "model"

    def __init__(self, directory: Union[str, os.PathLike[str]], **options: Unpack[ModelOptions]) -> None:
        """Loads the model in a directory.

        Args:
            directory: in the layout of the ONNX Runtime GenAI builder or of transformers.js.
            copy: reads the files into memory instead of mapping them.
            accuracy: ``default`` for activations quantised to 8 bits, ``precise`` for two planes of 8 bits, ``strict`` for fp32
                arithmetic in a fixed order.
            kv_precision: in which numbers the engine ``cpu`` keeps keys and values: ``int8``, or ``auto`` for 16-bit floats, and 32-bit
                ones where it is strict.
            follow_links: follows links that lead out of the directory.
            threads: how many, the caller's included; 0 for as many as the process may use, or as ``processors`` has.
            processors: those that the engine's own threads may run on; None for those of the thread that loads the model. The caller's
                thread stays where it is; ``os.sched_setaffinity`` places it.
            priority: how urgent the engine's own threads are: ``normal``, ``low``, or ``high`` where the system allows it.
            context_length: the most positions of a session; 0 for the model's own.
            memory_budget: the most bytes of all KV caches; 0 for three quarters of what is free.
            graph: which graph of the directory; empty to choose by looking.
            kernels: the kernel row; empty for the best.
            engine: ``cpu``, or ``ort`` for ONNX Runtime, of which all that follows is.
            provider: the execution provider, such as ``cuda``; ``auto`` for the first that takes the model.
            ort_library: the absolute path of ONNX Runtime's shared library; empty to look for it. An onnxruntime package beside
                this one is found.
            provider_library: the absolute path of a plug-in provider's library; empty to look beside ONNX Runtime.
            provider_options: options of the provider, by ONNX Runtime's names.
        """
        keep = Keep()
        handle = ffi.new("slm_model **")
        path, length = keep.bytes(os.fspath(directory))
        call(lib.slm_model_load, path, length, model_options(keep, **options), handle)
        self._own(handle[0], lib.slm_model_free)

    @classmethod
    def load_from(cls, source: Source, **options: Unpack[ModelOptions]) -> Model:
        """Loads a model whose files ``source`` reads, with the options of :class:`Model`.

        What the source raises is raised again.
        """
        keep, model = Keep(), cls.__new__(cls)
        handle = ffi.new("slm_model **")
        with callbacks(source) as native:
            call(lib.slm_model_load_from, native, model_options(keep, **options), handle)
        model._own(handle[0], lib.slm_model_free)
        return model

    @staticmethod
    def estimate(directory: Union[str, os.PathLike[str]], positions: int, **options: Unpack[ModelOptions]) -> MemoryEstimate:
        """What loading and a session of ``positions`` tokens would take, without loading."""
        keep = Keep()
        path, length = keep.bytes(os.fspath(directory))
        estimate = ffi.new("slm_estimate *")
        call(lib.slm_model_estimate, path, length, model_options(keep, **options), positions, estimate,
             ffi.sizeof("slm_estimate"))
        return MemoryEstimate(estimate.weights, estimate.cache, estimate.scratch, estimate.text, estimate.total)

    @property
    def info(self) -> dict[str, Any]:
        """What the model is and how it runs."""
        result: dict[str, Any] = json.loads(self._take(lib.slm_model_info))
        return result

    @property
    def vocabulary_size(self) -> int:
        """How many tokens the model gives logits for."""
        return int(self._sizes().vocabulary_size)

    @property
    def context_length(self) -> int:
        """The most tokens of a prompt and its answer together."""
        return int(self._sizes().context_length)

    def _sizes(self) -> Any:
        sizes = ffi.new("slm_sizes *")
        self._call(lib.slm_model_sizes, sizes, ffi.sizeof("slm_sizes"))
        return sizes

    @property
    def recommended_sampling(self) -> Sampling:
        """How the model's publisher recommends to choose tokens."""
        options = Keep().options("sampling")
        self._call(lib.slm_model_sampling, options, ffi.sizeof("slm_sampling_options"))
        return Sampling.from_c(options)

    def session(self, **options: Unpack[SessionOptions]) -> Session:
        """A conversation with an empty KV cache.

        Args:
            prefill_chunk: the most tokens of a prompt that are computed at a time; the CPU engine never takes more than 128.
            context: the most tokens of prompt and answer together; 0 for the model's context.
            sampling: how tokens are chosen; greedily by default.
            system: the system message with which the conversation begins.
            template_options: a dict for the chat template: date, tools, documents, variables.
        """
        return Session(self, **options)

    def load_calibration(self, path: Union[str, os.PathLike[str]], prompt: str = "") -> Calibration:
        """Reads a calibration that was made for this model, such as ``edgeslm calibrate`` writes.

        ``prompt`` identifies the form of the prompts that it is for; empty takes one for any.
        """
        return self._calibration(lib.slm_calibration_load, os.fspath(path), prompt)

    def parse_calibration(self, text: str, prompt: str = "") -> Calibration:
        """Reads a calibration from the text of its file."""
        return self._calibration(lib.slm_calibration_parse, text, prompt)

    def _calibration(self, function: Callable[..., int], text: str, prompt: str) -> Calibration:
        keep, handle = Keep(), ffi.new("slm_calibration **")
        self._call(function, *keep.bytes(text), *keep.bytes(prompt), handle)
        return Calibration(handle[0])

    def calibrate(
        self,
        session: Session,
        classes: Sequence[str],
        labels: Sequence[str],
        examples: Sequence[tuple[str, int]],
        *,
        prompt: str,
        score: str = "joint",
        risk: float = 0.1,
        confidence: float = 0.9,
    ) -> Calibration:
        """Learns from labelled prompts what the scores of labels mean, and which decisions to leave to a person.

        Args:
            session: one of this model.
            classes: their names.
            labels: one for each class, as the model goes on with it; then further words that only help.
            examples: prompts with the index of their class; at least two of each class, better ten or more.
            prompt: any text that identifies the form of the prompts.
            score: as in :meth:`Session.classify`.
            risk: the share of wrong decisions that is accepted among those that do not abstain; 0 never abstains.
            confidence: the probability with which that share is kept to.
        """
        keep, cancel, handle = Keep(), new_cancel(), ffi.new("slm_calibration **")
        options = keep.options("calibration")
        options.score, options.risk, options.confidence = _choice("score", _SCORES, score), risk, confidence
        options.cancel = cancel
        array = ffi.new("slm_labelled_prompt[]", max(1, len(examples)))
        for index, (text, of_class) in enumerate(examples):
            keep.put(array[index].prompt, text)
            array[index].class_index = of_class
        texts = keep.texts(classes), len(classes), keep.texts(labels), len(labels)
        form = keep.bytes(prompt)
        with session._using() as native:
            interruptible(
                lambda: self._call(
                    lib.slm_calibration_fit, native, *form, *texts, array, len(examples), options, handle
                ),
                cancel,
            )
        return Calibration(handle[0])

    def grammar(
        self,
        *,
        schema: Union[str, Mapping[str, Any], None] = None,
        regex: Optional[str] = None,
        lark: Optional[str] = None,
        choices: Optional[Sequence[str]] = None,
    ) -> Grammar:
        """A grammar for answers of the model, from exactly one of: a JSON schema as a dict or text, a regular expression, a
        grammar in llguidance's variant of Lark, or a list of texts."""
        given = [source for source in (schema, regex, lark, choices) if source is not None]
        if len(given) != 1:
            raise TypeError("a grammar is made from exactly one of schema, regex, lark and choices")
        keep, handle = Keep(), ffi.new("slm_grammar **")
        if choices is not None:
            self._call(lib.slm_grammar_choices, keep.texts(choices), len(choices), handle)
            return Grammar(handle[0])
        if schema is not None:
            kind, source = lib.SLM_GRAMMAR_JSON_SCHEMA, schema if isinstance(schema, str) else json.dumps(schema)
        elif regex is not None:
            kind, source = lib.SLM_GRAMMAR_REGEX, regex
        else:
            kind, source = lib.SLM_GRAMMAR_LARK, lark or ""
        self._call(lib.slm_grammar_new, kind, *keep.bytes(source), handle)
        return Grammar(handle[0])

    def extractor(
        self,
        schema: Union[str, Mapping[str, Any]],
        *,
        examples: Sequence[tuple[str, Mapping[str, Any]]] = (),
        instructions: str = "",
    ) -> Extractor:
        """An extractor of the fields that a JSON schema of an object names under ``properties``.

        Args:
            examples: texts, and what an extraction from each should give.
            instructions: what the model is asked; empty for the usual words.
        """
        keep, handle = Keep(), ffi.new("slm_extractor **")
        array = ffi.new("slm_example[]", max(1, len(examples)))
        for index, (source, value) in enumerate(examples):
            keep.put(array[index].source, source)
            keep.put(array[index].value, json.dumps(value))
        text = schema if isinstance(schema, str) else json.dumps(schema)
        self._call(lib.slm_extractor_new, *keep.bytes(text), *keep.bytes(instructions), array, len(examples), handle)
        return Extractor(handle[0])

    def count_tokens(self, text: str, mode: str = "prompt") -> int:
        """How many tokens ``text`` has; for the modes see :meth:`tokenize`."""
        keep, count = Keep(), ffi.new("size_t *")
        data, length = keep.bytes(text)
        self._call(lib.slm_count_tokens, data, length, _choice("mode", _MODES, mode), count)
        return int(count[0])

    def tokenize(self, text: str, mode: str = "prompt") -> list[int]:
        """The tokens of ``text``: as a ``prompt``, with the token that begins a text; as a ``continuation``, without; or
        ``plain``, where special tokens that the text spells out stay text."""
        keep, count = Keep(), ffi.new("size_t *")
        data, length = keep.bytes(text)
        capacity = self.count_tokens(text, mode)
        tokens = ffi.new("uint32_t[]", max(1, capacity))
        self._call(lib.slm_tokenize, data, length, _choice("mode", _MODES, mode), tokens, capacity, count)
        return list(tokens)[: count[0]]

    def detokenize(self, tokens: Sequence[int], skip_special_tokens: bool = False) -> str:
        """The text of tokens."""
        flags = lib.SLM_SKIP_SPECIAL_TOKENS if skip_special_tokens else 0
        array = ffi.new("uint32_t[]", list(tokens) or [0])
        return self._take(lib.slm_detokenize, array, len(tokens), flags)

    def render(self, messages: Sequence[Message], template_options: Optional[Mapping[str, Any]] = None) -> str:
        """The prompt that the chat template makes of a conversation."""
        keep = Keep()
        data, length = keep.bytes(json.dumps(dict(template_options)) if template_options else "")
        return self._take(lib.slm_render_chat, keep.messages(messages), len(messages), data, length)

    def __enter__(self) -> Model:
        return self


class Calibration(_Handle):
    """What the scores of a closed set of labels mean for one model and one prompt.

    Made by :meth:`Model.calibrate` and :meth:`Model.load_calibration`. Any number of threads may use it.
    """

    _what = "calibration"

    def __init__(self, handle: Any) -> None:
        self._own(handle, lib.slm_calibration_free)

    @property
    def facts(self) -> CalibrationFacts:
        """What it tells of itself."""
        facts = ffi.new("slm_calibration_facts *")
        self._call(lib.slm_calibration_describe, facts, ffi.sizeof("slm_calibration_facts"))
        return CalibrationFacts(
            facts.class_count, facts.label_count, facts.examples, facts.threshold, facts.risk, facts.confidence, facts.log_loss
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes."""
        with self._using() as handle:
            texts = [lib.slm_calibration_class(handle, index) for index in range(self.facts.class_count)]
            return tuple(ffi.buffer(text.data, text.len)[:].decode() for text in texts)

    @property
    def json(self) -> str:
        """What its file holds."""
        return self._take(lib.slm_calibration_json)

    def save(self, path: Union[str, os.PathLike[str]]) -> None:
        """Writes it to a file, which is complete or as it was before."""
        keep = Keep()
        self._call(lib.slm_calibration_save, *keep.bytes(os.fspath(path)))

    def __enter__(self) -> Calibration:
        return self


class Session(_Handle):
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
        options.score, options.deadline_ms = _choice("score", _SCORES, score), milliseconds(deadline)
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
