"""Models."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional, Sequence, Union

from ._calibration import Calibration
from ._errors import call
from ._grammar import Extractor, Grammar
from ._handle import Handle
from ._interrupt import interruptible, new_cancel
from ._native import ffi, lib
from ._options import SCORES, Keep, Message, Sampling, choice, model_options
from ._session import Session
from ._source import Source, callbacks

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import ModelOptions, SessionOptions

_MODES = {"prompt": lib.SLM_TOKENIZE_PROMPT, "continuation": lib.SLM_TOKENIZE_CONTINUATION, "plain": lib.SLM_TOKENIZE_PLAIN}


@dataclass(frozen=True)
class MemoryEstimate:
    """What loading a model and running one session takes, in bytes."""

    weights: int
    cache: int
    scratch: int
    text: int
    total: int


class Model(Handle):
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
            processors: those that the engine's own threads may run on; None for those of the thread that loads the model. On Windows
                they are 0 to 63 of one processor group, and None means the processors of the process. The caller's thread stays where it
                is; ``os.sched_setaffinity`` places it.
            priority: how urgent the engine's own threads are: ``normal``, ``low``, or ``high`` where the system allows it. On Windows
                normal priority is the process's.
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
        options.score, options.risk, options.confidence = choice("score", SCORES, score), risk, confidence
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
        self._call(lib.slm_count_tokens, data, length, choice("mode", _MODES, mode), count)
        return int(count[0])

    def tokenize(self, text: str, mode: str = "prompt") -> list[int]:
        """The tokens of ``text``: as a ``prompt``, with the token that begins a text; as a ``continuation``, without; or
        ``plain``, where special tokens that the text spells out stay text."""
        keep, count = Keep(), ffi.new("size_t *")
        data, length = keep.bytes(text)
        capacity = self.count_tokens(text, mode)
        tokens = ffi.new("uint32_t[]", max(1, capacity))
        self._call(lib.slm_tokenize, data, length, choice("mode", _MODES, mode), tokens, capacity, count)
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
