"""The memory policy that the runner hands to a process, and its sizes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

MODES = ("pool", "async", "managed", "cuda")

# A pool's sizes must be multiples of this (rmm, pool_memory_resource.hpp).
ALIGNMENT = 256

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


@dataclass(frozen=True)
class Policy:
    """All sizes are bytes; None is "no wish"."""

    receipts: str
    mode: str
    initial_pool_bytes: int | None = None
    maximum_pool_bytes: int | None = None
    limit_bytes: int | None = None
    allocators: tuple[str, ...] = ()

    def pool_sizes(
        self, initial: int | None, maximum: int | None, free: int
    ) -> tuple[int | None, int | None]:
        """The sizes of a pool that was asked for with initial and maximum bytes; an
        initial size that was not asked for is the policy's.

        rmm's own default is half of the free memory at once and no maximum, which
        a limit on allocations does not bound: so both are capped. Where nothing
        caps them, a size that nobody wished for stays None, rmm's default.
        """
        if initial is None:
            initial = self.initial_pool_bytes
        caps = [c for c in (maximum, self.maximum_pool_bytes, self.limit_bytes) if c is not None]
        if not caps:
            return (None if initial is None else _align(initial)), None
        cap = _align(min(caps))
        return min(_align(free // 2 if initial is None else initial), cap), cap


def load(path: str) -> Policy:
    """Reads the policy in the JSON file path; ValueError when it is not one."""
    with open(path, encoding="utf-8") as f:
        raw = json.load(f)
    policy = Policy(**{**raw, "allocators": tuple(raw.get("allocators") or ())})
    if policy.mode not in MODES:
        raise ValueError(f"policy {path}: mode {policy.mode!r} is none of {MODES}")
    return policy


def parse_bytes(size: int | float | str | None) -> int | None:
    """Bytes of a size as rmm takes it: a number, or text like "4GiB" or "500 MB"."""
    if size is None:
        return None
    if isinstance(size, (int, float)):
        return int(size)
    m = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]*)\s*", size.lower())
    if m is None or m[2] not in _UNITS:
        raise ValueError(f"could not interpret {size!r} as a number of bytes")
    return int(float(m[1]) * _UNITS[m[2]])


def _align(size: int) -> int:
    return size // ALIGNMENT * ALIGNMENT
