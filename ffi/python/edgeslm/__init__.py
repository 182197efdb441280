"""edgeslm: runs quantised small language models inside a program, on the device and without a network.

    import edgeslm

    with edgeslm.Model("models/llama-3.2-1b") as model, model.session() as session:
        for text in session.turn("Is the door open?"):
            print(text, end="", flush=True)
        print(session.classify("The pump is leaking oil. This is", [" urgent", " routine"]).label)
"""

from __future__ import annotations

import json
from typing import Any

from ._calibration import Calibration, CalibrationFacts
from ._errors import (
    BusyError,
    CancelledError,
    ClosedError,
    ContextLengthError,
    DeadlineError,
    EdgeSlmError,
    EngineUnavailableError,
    GrammarError,
    InvalidArgumentError,
    InvalidModelError,
    MemoryBudgetError,
    NotFoundError,
    TemplateError,
    UnsupportedError,
)
from ._grammar import Extractor, Grammar
from ._model import MemoryEstimate, Model
from ._native import ffi as _ffi
from ._native import lib as _lib
from ._options import Message, Sampling
from ._session import Classification, Decision, Extraction, Field, Session
from ._source import Source
from ._stream import Event, Finished, PromptProgress, Statistics, Stream, Text, Token
from ._version import __version__


def build_info() -> dict[str, Any]:
    """What the library is and can do on this machine."""
    result: dict[str, Any] = json.loads(_ffi.string(_lib.slm_build_info()).decode())
    return result


__all__ = [
    "BusyError", "Calibration", "CalibrationFacts", "CancelledError", "Classification", "ClosedError", "ContextLengthError",
    "DeadlineError", "Decision", "EdgeSlmError", "EngineUnavailableError", "Event", "Extraction", "Extractor", "Field",
    "Finished", "Grammar", "GrammarError", "InvalidArgumentError", "InvalidModelError", "MemoryBudgetError", "MemoryEstimate",
    "Message", "Model", "NotFoundError", "PromptProgress", "Sampling", "Session", "Source", "Statistics", "Stream",
    "TemplateError", "Text", "Token", "UnsupportedError", "__version__", "build_info",
]
