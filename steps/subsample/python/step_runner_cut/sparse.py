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
    """Blocks in files, so that those of a compressed matrix are unpacked once."""

    def __init__(self, directory: Path, matrix: Sparse) -> None:
        self.paths = directory / "indices", directory / "data"
        self.dtypes = matrix.indices.dtype, matrix.data.dtype
        self.lengths: list[Ints] = []

    def fill(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Keeps the blocks that pass by."""
        with self.paths[0].open("wb", 0) as indices, self.paths[1].open("wb", 0) as data:
            for b in blocks:
                for file, values in ((indices, b.indices), (data, b.data)):
                    rest = memoryview(np.ascontiguousarray(values)).cast("B") if values.size else b""
                    while rest:
                        rest = rest[file.write(rest) :]
                self.lengths.append(b.lengths)
                yield b

    def count(self) -> int:
        """Values in all blocks."""
        return sum(int(n.sum()) for n in self.lengths)

    def blocks(self) -> Iterator[Block]:
        """The blocks again; the files go with the last one."""
        with self.paths[0].open("rb") as indices, self.paths[1].open("rb") as data:
            for lengths in self.lengths:
                n = int(lengths.sum())
                yield Block(lengths, np.fromfile(indices, self.dtypes[0], n), np.fromfile(data, self.dtypes[1], n))
        for path in self.paths:
            path.unlink()


def select(block: Block, place: NDArray[Any] | None) -> Block:
    """Leaves of each major the minors whose place is not -1."""
    if place is None:
        return block
    placed = place[block.indices]
    keep = placed >= 0
    ends = np.cumsum(block.lengths)
    passed = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
    lengths = passed[ends] - passed[ends - block.lengths]
    return Block(lengths, placed[keep].astype(block.indices.dtype, copy=False), block.data[keep])


def places(total: int, selected: Ints | None) -> NDArray[np.int32] | None:
    """Where each minor goes, -1 for those that are left out; None when all stay."""
    if selected is None or len(selected) == total:
        return None
    place = np.full(total, -1, np.int32)
    place[selected] = np.arange(len(selected), dtype=np.int32)
    return place
