"""Reads parts of one-dimensional arrays. HDF5 unpacks one chunk at a time under a
lock; here the packed chunks are taken from it and unpacked by several threads,
while the part before is worked on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import inflate
from .errors import DAMAGED, CutError
from .sampling import Ints

# Elements of a sparse matrix that are held at once, and how many that nobody wants
# are read for the sake of one long read.
BLOCK = 1 << 20
GAP = 1 << 16

_pool = ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0))))


class Vector:
    """An array of which parts are read in ascending order."""

    def __init__(self, array: Any) -> None:
        self.array, self.dtype, self.length = array, array.dtype, int(array.shape[0])
        self.chunk = _chunk(array)
        # Asking h5py takes time.
        self.packed, self.shuffle = (bool(array.compression), array.shuffle) if self.chunk else (False, False)
        # The chunks that were unpacked last, and where they begin.
        self._last: tuple[int, NDArray[Any]] | None = None
        self._buffers: list[NDArray[Any]] = []

    def start(self, begin: int, end: int) -> Part:
        """Begins to read; begin < end."""
        if not self.chunk:
            return Part(self, begin, end, None, [], [])
        first, stop = begin // self.chunk, (end - 1) // self.chunk + 1
        buffer = self._buffer((stop - first) * self.chunk)
        # The part before may be unpacked still: what it has too is copied in the end.
        late: list[tuple[NDArray[Any], NDArray[Any]]] = []
        return Part(self, begin, end, buffer, self._unpack(first, stop, buffer, late), late)

    def _buffer(self, size: int) -> NDArray[Any]:
        # New memory costs as much as unpacking into it. Three are in use at most: the
        # part that is worked on, and two that were started.
        free = self._buffers.pop(0) if len(self._buffers) == 3 else np.empty(0, self.dtype)
        if len(free) < size:
            free = np.empty(size, self.dtype)
        self._buffers.append(free)
        return free[:size]

    def _unpack(self, first: int, stop: int, buffer: NDArray[Any], late: list[tuple[NDArray[Any], NDArray[Any]]]) -> list[Future[None]]:
        tasks, batch, size = [], [], 0
        last, self._last = self._last, (first, buffer)
        for i in range(first, stop):
            target = buffer[(i - first) * self.chunk : (i - first + 1) * self.chunk]
            if last and last[0] <= i < last[0] + len(last[1]) // self.chunk:
                offset = (i - last[0]) * self.chunk
                late.append((last[1][offset : offset + self.chunk], target))
            else:
                mask, packed = self.array.id.read_direct_chunk((i * self.chunk,))
                batch.append((packed if mask == 0 else self.array[i * self.chunk : (i + 1) * self.chunk], target))
            size += target.nbytes
            if size >= 1 << 19:
                tasks.append(_pool.submit(self._fill, batch))
                batch, size = [], 0
        if batch:
            tasks.append(_pool.submit(self._fill, batch))
        return tasks

    def _fill(self, batch: list[tuple[Any, NDArray[Any]]]) -> None:
        for source, target in batch:
            if isinstance(source, np.ndarray):
                target[: len(source)] = source
                continue
            whole = np.empty(len(target), self.dtype) if self.shuffle else target
            if self.packed:
                inflate.into(source, whole)
            elif len(source) == whole.nbytes:
                whole[:] = np.frombuffer(source, self.dtype)
            else:
                raise CutError(f"{self.array.name}: a chunk has {len(source)} bytes, not {target.nbytes}", DAMAGED)
            if self.shuffle:
                planes = whole.view(np.uint8).reshape(self.dtype.itemsize, -1)
                target.view(np.uint8).reshape(-1, self.dtype.itemsize)[:] = planes.T


class Part:
    """A part of a Vector that is being read."""

    def __init__(
        self, vector: Vector, begin: int, end: int, buffer: NDArray[Any] | None, tasks: list[Future[None]], late: list[tuple[NDArray[Any], NDArray[Any]]]
    ) -> None:
        self.vector, self.begin, self.end, self.buffer, self.tasks, self.late = vector, begin, end, buffer, tasks, late

    def get(self) -> NDArray[Any]:
        """Waits for it. Parts are waited for in the order in which they were started."""
        if self.buffer is None:
            return np.asarray(self.vector.array[self.begin : self.end])
        for task in self.tasks:
            task.result()
        for source, target in self.late:
            target[:] = source
        offset = self.begin // self.vector.chunk * self.vector.chunk
        return self.buffer[self.begin - offset : self.end - offset]


def _chunk(array: Any) -> int:
    """The length of the chunks that can be unpacked here, else 0."""
    if not hasattr(array, "id") or not hasattr(array.id, "read_direct_chunk") or array.chunks is None:
        return 0
    plain = array.compression in (None, "gzip") and not array.fletcher32 and array.scaleoffset is None
    if not plain or array.dtype.kind not in "iuf" or array.shape[0] == 0:
        return 0
    stored = array.id.get_create_plist().get_nfilters()
    whole = array.id.get_num_chunks() == -(-array.shape[0] // array.chunks[0])
    return int(array.chunks[0]) if whole and stored == bool(array.compression) + bool(array.shuffle) else 0


def spans(begins: Ints, ends: Ints, limit: int = BLOCK) -> Iterator[tuple[int, int]]:
    """Groups the parts begins[i]:ends[i], which ascend, into reads: neighbours are
    read in one go as long as that is no more than limit and no wide gap lies
    between them."""
    breaks = np.append(np.flatnonzero(begins[1:] - ends[:-1] > GAP) + 1, len(begins))
    at = 0
    while at < len(begins):
        stop = int(np.searchsorted(ends, begins[at] + limit, side="right"))
        stop = min(max(stop, at + 1), int(breaks[np.searchsorted(breaks, at, side="right")]))
        yield at, stop
        at = stop


def gather(values: NDArray[Any], begins: Ints, ends: Ints) -> NDArray[Any]:
    """The parts begins[i]:ends[i] of values, one after the other."""
    if len(begins) == 0:
        return values[:0]
    if np.array_equal(begins[1:], ends[:-1]):
        return values[begins[0] : ends[-1]]
    return np.concatenate([values[b:e] for b, e in zip(begins.tolist(), ends.tolist())])
