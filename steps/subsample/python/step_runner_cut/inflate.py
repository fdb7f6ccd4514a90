"""Unpacks what zlib packed. libdeflate does it in a third of the time and is
there where Debian's or Conda's libtiff is; without it Python's own zlib does it. Both check the
checksum, and both leave other threads to work."""

from __future__ import annotations

import ctypes
import sys
import threading
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = (f"{sys.base_prefix}/lib/libdeflate.so.0", "libdeflate.so.0")


def _load() -> Any:
    for name in NAMES:
        try:
            library = ctypes.CDLL(name)
            library.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
            unpack = library.libdeflate_zlib_decompress
        except (OSError, AttributeError):
            continue
        unpack.restype = ctypes.c_int
        unpack.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        return library
    return None


library = _load()


class _Decompressor(threading.local):
    """One for each thread; they live as long as the process."""

    def __init__(self) -> None:
        self.handle = library.libdeflate_alloc_decompressor()
        if not self.handle:
            raise MemoryError


_decompressor = _Decompressor() if library else None


def into(packed: bytes, target: NDArray[Any]) -> None:
    """Fills target, which is contiguous; zlib.error when it is not filled exactly."""
    if _decompressor is None:
        whole = zlib.decompress(packed, bufsize=target.nbytes)
        if len(whole) != target.nbytes:
            raise zlib.error(f"{len(whole)} bytes, not {target.nbytes}")
        target.view(np.uint8)[:] = np.frombuffer(whole, np.uint8)
        return
    # Without a place for the size it has to be exact.
    code = library.libdeflate_zlib_decompress(_decompressor.handle, packed, len(packed), target.ctypes.data, target.nbytes, None)
    if code != 0:
        raise zlib.error({1: "bad data", 2: f"less than {target.nbytes} bytes", 3: f"more than {target.nbytes} bytes"}.get(code, f"libdeflate {code}"))
