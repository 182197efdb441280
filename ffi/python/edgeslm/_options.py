"""Options as keyword arguments, turned into the library's structs."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Collection, Iterable, Mapping, Optional, Sequence, TypedDict, Union

from ._errors import call
from ._native import ffi, lib

Message = Mapping[str, str]
"""A message: ``{"role": "user", "content": "..."}``; the roles are system, user, assistant and tool."""

SCORES = {"joint": lib.SLM_SCORE_JOINT, "trie_normalised": lib.SLM_SCORE_TRIE_NORMALISED}


class Keep(list):  # type: ignore[type-arg]
    """What must live as long as the structs that point to it."""

    def bytes(self, text: Union[str, bytes]) -> tuple[Any, int]:
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"a text is needed, not {type(text).__name__}")
        data = text.encode() if isinstance(text, str) else text
        buffer = ffi.new("char[]", data)
        self.append(buffer)
        return buffer, len(data)

    def put(self, to: Any, text: str) -> None:
        to.data, to.len = self.bytes(text)

    def texts(self, texts: Sequence[str]) -> Any:
        # A text is a sequence of texts too.
        if isinstance(texts, (str, bytes)):
            raise TypeError("a list of texts is needed, not one text")
        array = ffi.new("slm_str[]", max(1, len(texts)))
        self.append(array)
        for index, text in enumerate(texts):
            self.put(array[index], text)
        return array

    def messages(self, messages: Sequence[Message]) -> Any:
        if isinstance(messages, (str, bytes, Mapping)):
            raise TypeError("a list of messages is needed; Session.turn takes a single text")
        array = ffi.new("slm_message[]", max(1, len(messages)))
        self.append(array)
        for index, message in enumerate(messages):
            for key in ("role", "content"):
                if not isinstance(message, Mapping) or not isinstance(message.get(key), str):
                    raise TypeError(f"message {index} has no text {key!r}")
                self.put(getattr(array[index], key), message[key])
        return array

    def options(self, kind: str) -> Any:
        options = ffi.new(f"slm_{kind}_options *")
        self.append(options)
        call(getattr(lib, f"slm_{kind}_options_init"), options, ffi.sizeof(f"slm_{kind}_options"))
        return options


@dataclass
class Sampling:
    """How the next token is chosen. The default is greedy: the most probable token, always the same answer."""

    temperature: float = 0.0
    """What the logits are divided by; 0 chooses greedily."""
    top_p: float = 1.0
    """Keeps the fewest most probable tokens whose probabilities sum to at least this; 1 keeps all."""
    min_p: float = 0.0
    """Keeps tokens at least this many times as probable as the most probable one; 0 keeps all."""
    top_k: int = 0
    """Keeps this many most probable tokens; 0 keeps all."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens that occurred; 1 changes nothing."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit for each time it occurred."""
    presence_penalty: float = 0.0
    """Subtracted from a token's logit if it occurred."""
    penalty_window: int = 64
    """How many last tokens the penalties look at; 2**64 - 1 for all."""
    seed: Optional[int] = None
    """The same seed gives the same answer; None for a random one."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of single tokens; -inf bans one."""

    def to_c(self, keep: Keep) -> Any:
        options = keep.options("sampling")
        for name in ("temperature", "top_p", "min_p", "top_k", "repetition_penalty", "frequency_penalty",
                     "presence_penalty", "penalty_window"):
            setattr(options, name, getattr(self, name))
        if self.seed is not None:
            options.seed = self.seed
        biases = ffi.new("slm_logit_bias[]", max(1, len(self.logit_bias)))
        keep.append(biases)
        for index, (token, bias) in enumerate(self.logit_bias.items()):
            biases[index].token, biases[index].bias = token, bias
        options.logit_bias, options.logit_bias_count = biases, len(self.logit_bias)
        return options

    @classmethod
    def from_c(cls, options: Any) -> Sampling:
        return cls(
            temperature=options.temperature, top_p=options.top_p, min_p=options.min_p, top_k=options.top_k,
            repetition_penalty=options.repetition_penalty, frequency_penalty=options.frequency_penalty,
            presence_penalty=options.presence_penalty, penalty_window=options.penalty_window,
            seed=options.seed or None,
        )


class ModelOptions(TypedDict, total=False):
    """Keyword arguments of :class:`Model`."""

    copy: bool
    accuracy: str
    kv_precision: str
    follow_links: bool
    threads: int
    processors: Optional[Collection[int]]
    priority: str
    context_length: int
    memory_budget: int
    graph: str
    kernels: str
    engine: str
    provider: str
    ort_library: Union[str, os.PathLike[str]]
    provider_library: Union[str, os.PathLike[str]]
    provider_options: Mapping[str, str]


class SessionOptions(TypedDict, total=False):
    """Keyword arguments of :meth:`Model.session`."""

    prefill_chunk: int
    context: int
    sampling: Optional[Sampling]
    system: str
    template_options: Optional[Mapping[str, Any]]


class GenerateOptions(TypedDict, total=False):
    """Keyword arguments of the methods that answer."""

    max_tokens: int
    stop: Iterable[str]
    stop_tokens: Iterable[int]
    ignore_stop_tokens: bool
    log_probabilities: Optional[int]
    deadline: Optional[float]
    sampling: Optional[Sampling]
    grammar: Optional[Any]
    draft_tokens: int


def choice(what: str, choices: Mapping[str, int], name: str) -> int:
    """The number of a choice by its name."""
    if name not in choices:
        raise ValueError(f"there is no {what} {name!r}; there are {', '.join(choices)}")
    return choices[name]


def milliseconds(seconds: Optional[float]) -> int:
    """A deadline as the library takes it, where 0 means none."""
    return 0 if seconds is None else max(1, round(1000 * seconds))


def model_options(
    keep: Keep,
    *,
    copy: bool = False,
    accuracy: str = "default",
    kv_precision: str = "auto",
    follow_links: bool = False,
    threads: int = 0,
    processors: Optional[Collection[int]] = None,
    priority: str = "normal",
    context_length: int = 0,
    memory_budget: int = 0,
    graph: str = "",
    kernels: str = "",
    engine: str = "cpu",
    provider: str = "auto",
    ort_library: Union[str, os.PathLike[str]] = "",
    provider_library: Union[str, os.PathLike[str]] = "",
    provider_options: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    options = keep.options("model")
    options.load = lib.SLM_LOAD_COPY if copy else lib.SLM_LOAD_MAP
    options.accuracy = _constant("ACCURACY", accuracy)
    options.kv_precision = _constant("KV", kv_precision)
    options.flags = lib.SLM_FOLLOW_LINKS if follow_links else 0
    options.threads, options.context_length, options.memory_budget = threads, context_length, memory_budget
    if processors is not None:
        numbers = ffi.new("uint32_t[]", max(1, len(processors)))
        keep.append(numbers)
        for index, processor in enumerate(processors):
            numbers[index] = processor
        options.processors, options.processor_count = numbers, len(processors)
    options.priority = _constant("PRIORITY", priority)
    keep.put(options.graph, graph)
    keep.put(options.kernels, kernels)
    options.engine = _constant("ENGINE", engine)
    options.provider = _constant("PROVIDER", provider)
    keep.put(options.ort_library, os.fspath(ort_library))
    keep.put(options.provider_library, os.fspath(provider_library))
    pairs = ffi.new("slm_option[]", max(1, len(provider_options)))
    keep.append(pairs)
    for index, (key, value) in enumerate(provider_options.items()):
        keep.put(pairs[index].key, key)
        keep.put(pairs[index].value, value)
    options.provider_options, options.provider_option_count = pairs, len(provider_options)
    return options


def _constant(kind: str, name: str) -> int:
    """The number of an accuracy, engine, provider or priority by its name, such as ``cuda``."""
    value = getattr(lib, f"SLM_{kind}_{name.upper().replace('-', '_')}", None)
    if not isinstance(value, int):
        raise ValueError(f"there is no {kind.lower()} {name!r}")
    return value


def session_options(
    keep: Keep,
    *,
    prefill_chunk: int = 512,
    context: int = 0,
    sampling: Optional[Sampling] = None,
    system: str = "",
    template_options: Optional[Mapping[str, Any]] = None,
) -> Any:
    options = keep.options("session")
    options.prefill_chunk, options.context = prefill_chunk, context
    if sampling is not None:
        options.sampling = sampling.to_c(keep)
    keep.put(options.system, system)
    keep.put(options.template_options, json.dumps(dict(template_options)) if template_options else "")
    return options


def generate_options(
    keep: Keep,
    cancel: Any,
    *,
    max_tokens: int = 1024,
    stop: Iterable[str] = (),
    stop_tokens: Iterable[int] = (),
    ignore_stop_tokens: bool = False,
    log_probabilities: Optional[int] = None,
    deadline: Optional[float] = None,
    sampling: Optional[Sampling] = None,
    grammar: Optional[Any] = None,
    draft_tokens: int = 0,
) -> Any:
    options = keep.options("generate")
    options.max_tokens = max_tokens
    options.flags = lib.SLM_IGNORE_STOP_TOKENS if ignore_stop_tokens else 0
    options.log_probabilities = -1 if log_probabilities is None else log_probabilities
    options.deadline_ms = milliseconds(deadline)
    options.cancel = cancel
    options.draft_tokens = draft_tokens
    if sampling is not None:
        options.sampling = sampling.to_c(keep)
    if grammar is not None:
        shared = grammar.shared()
        keep.append(shared)
        options.grammar = shared
    texts = [stop] if isinstance(stop, str) else list(stop)
    options.stop, options.stop_count = keep.texts(texts), len(texts)
    tokens = list(stop_tokens)
    array = ffi.new("uint32_t[]", tokens or [0])
    keep.append(array)
    options.stop_tokens, options.stop_token_count = array, len(tokens)
    return options
