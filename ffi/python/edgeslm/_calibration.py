"""Calibrations of label scores."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Union

from ._handle import Handle
from ._native import ffi, lib
from ._options import Keep


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


class Calibration(Handle):
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
