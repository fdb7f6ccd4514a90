"""Sparse matrices: rows of CSR and columns of CSC are its majors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DAMAGED, CutError
from .progress import Progress
from .reading import Vector, gather, spans
from .sampling import Ints


@dataclass
class Block:
    """Some selected majors: how long each is, and what is in them."""

    lengths: Ints
    indices: NDArray[Any]
    data: NDArray[Any]


class Sparse:
    """The three arrays of a matrix."""

    def __init__(self, name: str, group: Any, majors: int, minors: int) -> None:
        try:
            indices, data = group["indices"], group["data"]
            self.indptr: Ints = np.asarray(group["indptr"][:]).astype(np.int64)
        except KeyError as e:
            raise CutError(f"{name}: the sparse matrix has no {e}", DAMAGED) from e
        self.name, self.minors, self.majors = name, minors, majors
        self.indices, self.data = Vector(indices), Vector(data)
        p = self.indptr
        stored = min(self.indices.length, self.data.length)
        if len(p) != majors + 1 or p[0] != 0 or p[-1] > stored or np.any(np.diff(p) < 0):
            raise CutError(f"{name}: indptr does not fit {majors} rows and {stored} values", DAMAGED)

    @property
    def item(self) -> int:
        """Bytes of one value with its index."""
        return int(self.indices.dtype.itemsize + self.data.dtype.itemsize)

    def count(self, majors: Ints) -> int:
        """Values in these majors."""
        return int((self.indptr[majors + 1] - self.indptr[majors]).sum())

    def spooled(self, majors: Ints) -> int:
        """Bytes that they take in a Spool at most."""
        index = min(self.indices.dtype.itemsize, 1 if self.minors <= 1 << 8 else 2 if self.minors <= 1 << 16 else 8)
        return self.count(majors) * (index + self.data.dtype.itemsize)

    def blocks(self, majors: Ints, progress: Progress) -> Iterator[Block]:
        """The majors, which ascend, one block after the other; while one is used the
        next is read."""
        begins, ends = self.indptr[majors], self.indptr[majors + 1]
        pending = None
        for at, stop in spans(begins, ends):
            begin, end = int(begins[at]), int(ends[stop - 1])
            if begin == end:
                following = (at, stop, begin, None, None)
            else:
                following = (at, stop, begin, self.indices.start(begin, end), self.data.start(begin, end))
            if pending:
                yield self._block(begins, ends, pending, progress)
            pending = following
        if pending:
            yield self._block(begins, ends, pending, progress)

    def _block(self, begins: Ints, ends: Ints, pending: Any, progress: Progress) -> Block:
        at, stop, origin, indices, data = pending
        begins, ends = begins[at:stop], ends[at:stop]
        if indices is None:
            return Block(ends - begins, np.empty(0, self.indices.dtype), np.empty(0, self.data.dtype))
        whole = indices.get(), data.get()
        progress.add(len(whole[0]) * self.item)
        got = [gather(values, begins - origin, ends - origin) for values in whole]
        if got[0].size and (got[0].max() >= self.minors or got[0].min() < 0):
            raise CutError(f"{self.name}: an index is not below {self.minors}", DAMAGED)
        return Block(ends - begins, got[0], got[1])


class Spool:
    """Blocks in a file, so that those of a compressed matrix are unpacked once."""

    def __init__(self, directory: Path, matrix: Sparse) -> None:
        self.path = directory / "spool"
        self.dtypes = matrix.indices.dtype, matrix.data.dtype
        # Of each block the lengths, and the types in which its arrays are kept.
        self.kept: list[tuple[Ints, list[np.dtype[Any]]]] = []

    def fill(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Keeps the blocks that pass by."""
        with self.path.open("wb", 0) as file:
            for b in blocks:
                arrays = [narrow(b.indices), narrow(b.data)]
                for values in arrays:
                    rest = memoryview(np.ascontiguousarray(values)).cast("B") if values.size else b""
                    while rest:
                        rest = rest[file.write(rest) :]
                self.kept.append((b.lengths, [values.dtype for values in arrays]))
                yield b

    def count(self) -> int:
        """Values in all blocks."""
        return sum(int(lengths.sum()) for lengths, _ in self.kept)

    def blocks(self) -> Iterator[Block]:
        """The blocks again; the file goes with the last one."""
        with self.path.open("rb") as file:
            for lengths, kept in self.kept:
                n = int(lengths.sum())
                indices, data = (np.fromfile(file, k, n).astype(d, copy=False) for k, d in zip(kept, self.dtypes))
                yield Block(lengths, indices, data)
        self.path.unlink()


def narrow(values: NDArray[Any]) -> NDArray[Any]:
    """The values in the narrowest type that gives back the same bits: counts are small
    numbers, and what is kept for a while is a quarter of them."""
    plain = values.dtype.kind in "iuf" and values.dtype.isnative and values.itemsize <= 8
    bits = values.view(f"u{values.itemsize}") if plain else None
    for kind in (np.uint8, np.uint16):
        if bits is None or values.itemsize <= np.dtype(kind).itemsize:
            break
        with np.errstate(invalid="ignore"):
            small = values.astype(kind)
        if np.array_equal(small.astype(values.dtype).view(bits.dtype), bits):
            return small
    return values


def select(block: Block, place: NDArray[Any] | None) -> Block:
    """Leaves of each major the minors whose place is not -1."""
    if place is None:
        return block
    placed = place.take(block.indices)
    keep = np.flatnonzero(placed >= 0)
    ends = np.searchsorted(keep, np.cumsum(block.lengths))
    return Block(np.diff(ends, prepend=0), placed.take(keep).astype(block.indices.dtype, copy=False), block.data.take(keep))


def places(total: int, selected: Ints | None) -> NDArray[np.int32] | None:
    """Where each minor goes, -1 for those that are left out; None when all stay."""
    if selected is None or len(selected) == total:
        return None
    place = np.full(total, -1, np.int32)
    place[selected] = np.arange(len(selected), dtype=np.int32)
    return place
