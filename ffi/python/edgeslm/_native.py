"""The shared library and its header, as cffi sees them."""

from __future__ import annotations

import os
import pathlib
import re
import sys
from typing import Any

import cffi

_HERE = pathlib.Path(__file__).parent
_NAMES = {"win32": "edgeslm.dll", "darwin": "libedgeslm.dylib"}


def _declarations(header: str) -> str:
    """The part of a C header that cffi reads: no comments, no conditions, no marks before functions."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    text = re.sub(r"//[^\n]*", "", text)
    lines = []
    for line in text.splitlines():
        if line.startswith("#"):
            # Constants whose value is a plain number.
            if re.fullmatch(r"#define SLM_\w+ -?(0x)?[0-9a-fA-F]+\s*", line):
                lines.append(line)
        elif line.strip() != 'extern "C" {':
            lines.append(line)
    text = "\n".join(lines)
    text = re.sub(r"\bSLM_API\b|\bSLM_NODISCARD\b", "", text)
    # What remains of extern "C".
    return re.sub(r"\n}\s*$", "\n", text)


def _library_path() -> str:
    """The library that EDGESLM_LIBRARY names, or the one in the package."""
    named = os.environ.get("EDGESLM_LIBRARY")
    path = pathlib.Path(named) if named else _HERE / _NAMES.get(sys.platform, "libedgeslm.so")
    if not path.is_file():
        raise ImportError(f"{path} is missing: install the wheel of this platform, or name the library in EDGESLM_LIBRARY")
    return str(path.resolve())


ffi: Any = cffi.FFI()
ffi.cdef(_declarations((_HERE / "edgeslm.h").read_text(encoding="utf-8")))
lib: Any = ffi.dlopen(_library_path())

if lib.slm_abi_version() != lib.SLM_ABI_VERSION:
    raise ImportError(
        f"the library has version {lib.slm_abi_version():#x} of the ABI, and this package needs {lib.SLM_ABI_VERSION:#x}"
    )
