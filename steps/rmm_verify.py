"""Tries RMM through CuPy in a process that has the memory policy.

Arguments: the bytes to allocate, and the libraries that the policy points at RMM.
Each check is a line of JSON on stdout: check, status (ok, failed, skipped), kind
(missing, no-gpu, memory, wrong) of a failed one, detail.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def say(check: str, status: str, detail: str, kind: str = "") -> None:
    print(json.dumps({"check": check, "status": status, "kind": kind, "detail": detail}), flush=True)


def kind_of(e: BaseException) -> str:
    text = f"{type(e).__name__}: {e}"
    if isinstance(e, ImportError):
        return "missing"
    if isinstance(e, MemoryError) or "OutOfMemory" in text or "cudaErrorMemoryAllocation" in text:
        return "memory"
    # rmm dresses "no CUDA device" as an AttributeError about 'msg'.
    if "NoDevice" in text or "no attribute 'msg'" in text:
        return "no-gpu"
    return "wrong"


class Wrong(Exception):
    pass


def imports() -> str:
    import cupy
    import numpy
    import rmm

    return ", ".join(f"{m.__name__} {m.__version__}" for m in (rmm, cupy, numpy))


def counts() -> Any:
    import rmm

    return rmm.mr.get_current_device_resource().allocation_counts


def allocation(size: int) -> str:
    """Writes the whole block and reads its ends, so that it must really be there."""
    import cupy

    block = cupy.empty(size, dtype=cupy.uint8)
    block.fill(7)
    ends = int(block[0]), int(block[-1])
    if block.nbytes != size or ends != (7, 7):
        raise Wrong(f"{size} bytes were filled with 7, and {ends} was read from the ends of {block.nbytes}")
    return f"{size} bytes in one piece, written and read"


def product() -> str:
    import cupy
    import numpy

    rng = numpy.random.default_rng(0)
    a, b = rng.random((512, 512)), rng.random((512, 512))
    got, want = cupy.asnumpy(cupy.asarray(a) @ cupy.asarray(b)), a @ b
    if not numpy.allclose(got, want, rtol=1e-10, atol=0):
        raise Wrong(f"differs from NumPy's by up to {numpy.abs(got - want).max()}")
    return "512 x 512 in double precision, as NumPy's"


def statistics(size: int) -> str:
    seen = counts()
    if seen.total_count == 0 or seen.peak_bytes < size:
        raise Wrong(f"RMM counted {seen.total_count} allocations and a peak of {seen.peak_bytes} bytes: CuPy does not allocate through it")
    return f"{seen.total_count} allocations, peak {seen.peak_bytes} bytes"


def torch() -> str:
    import torch as t

    before = counts().total_count
    t.zeros(1 << 24, device="cuda")
    if counts().total_count == before:
        raise Wrong("a tensor was allocated, and not through RMM")
    return f"torch {t.__version__} allocates through RMM"


def main(size: int, libraries: list[str]) -> None:
    no_cupy = "" if "cupy" in libraries else "--rmm-allocators does not name cupy"
    no_torch = "" if "torch" in libraries else "--rmm-allocators does not name torch"
    checks = [
        ("imports", imports, (), ""),
        ("allocation", allocation, (size,), ""),
        ("product", product, (), ""),
        ("statistics", statistics, (size,), no_cupy),
        ("torch", torch, (), no_torch),
    ]
    allocated = False
    for name, check, args, skip in checks:
        if name == "statistics" and not skip and not allocated:
            skip = "the allocation failed"
        if skip:
            say(name, "skipped", skip)
            continue
        try:
            say(name, "ok", check(*args))
            allocated |= name == "allocation"
        except BaseException as e:
            say(name, "failed", f"{type(e).__name__}: {e}", kind_of(e))
            if name == "imports":
                return


main(int(sys.argv[1]), sys.argv[2].split(","))
