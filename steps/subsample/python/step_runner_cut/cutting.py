"""Cuts elements: each keeps its encoding, type and attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import stores
from .errors import CutError
from .progress import Progress
from .sampling import Ints
from .sparse import Block, Sparse, places, select

# Bytes of a dense array that are read at once.
DENSE = 1 << 23

Axes = tuple[Ints | None, ...]


def encoding(element: Any) -> str:
    """Its encoding-type; what anndata wrote before there was one gets one too."""
    found = element.attrs.get("encoding-type")
    if found is None and stores.is_group(element):
        if "h5sparse_format" in element.attrs:
            found = f"{_text(element.attrs['h5sparse_format'])}_matrix"
        elif "_index" in element.attrs:
            found = "dataframe"
    return _text(found) if found is not None else ""


def shape(element: Any) -> tuple[int, ...]:
    """Of an array or a sparse matrix; () of anything else."""
    if not stores.is_group(element):
        return tuple(int(n) for n in element.shape or ())
    found = element.attrs.get("shape", element.attrs.get("h5sparse_shape", ()))
    return tuple(int(n) for n in found)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def rows(array: Any, selected: Ints | None, progress: Progress | None = None) -> Iterator[NDArray[Any]]:
    """The selected rows of a dense array, block by block."""
    count = int(array.shape[0])
    width = int(np.prod(array.shape[1:], dtype=np.int64)) * max(array.dtype.itemsize, 64 if array.dtype.kind not in "biufc" else 1)
    step = max(1, DENSE // max(width, 1))
    chunk = array.chunks[0] if array.chunks else 1
    if chunk <= 8 * step:  # Each chunk is unpacked once.
        step = max(chunk, step // chunk * chunk)
    for at in range(0, count, step):
        stop = min(at + step, count)
        if selected is None:
            wanted = slice(None)
        else:
            first, last = np.searchsorted(selected, [at, stop])
            if first == last:
                continue
            wanted = selected[first:last] - at
        block = np.asarray(array[at:stop])
        if progress:
            progress.add(block.nbytes)
        yield block[wanted]


class Cutter:
    """Cuts the elements of one store into another."""

    def __init__(self, progress: Progress, prune: bool) -> None:
        self.progress, self.prune = progress, prune
        # Which categories are left of a column that was pruned, of how many.
        self.pruned: dict[str, tuple[int, Ints]] = {}
        self._pruning = False

    def cut(self, source: Any, parent: Any, name: str, axes: Axes) -> None:
        """Writes what axes leave of source: one selection, or None, for each axis."""
        self.progress.part = source.name.lstrip("/")
        whole = all(a is None for a in axes) and not (self._pruning and encoding(source) in ("dataframe", "categorical"))
        if whole or shape(source) == () and not stores.is_group(source):
            stores.copy(source, parent, name)
        elif not stores.is_group(source):
            self._array(source, parent, name, axes)
        elif encoding(source) in ("csr_matrix", "csc_matrix"):
            self._sparse(source, parent, name, axes)
        elif encoding(source) == "dataframe":
            self._members(source, parent, name, axes[:1])
        elif encoding(source) == "categorical":
            self._categorical(source, parent, name, axes[:1])
        elif encoding(source).startswith("nullable-"):
            self._members(source, parent, name, axes[:1])
        else:
            raise CutError(f"{source.name}: encoding {encoding(source)!r} is not supported", "leave the element out of the file, or give data without it")

    def annotation(self, source: Any, parent: Any, name: str, axis: Ints | None) -> None:
        """obs or var, to whose columns there may be colours in uns."""
        self._pruning = self.prune
        self.cut(source, parent, name, (axis,))
        self._pruning = False

    def members(self, source: Any, parent: Any, name: str, axes: Axes) -> None:
        """A mapping such as obsm: each member is cut."""
        pruned, self._pruning = dict(self.pruned), self.prune
        self._members(source, parent, name, axes)
        self.pruned, self._pruning = pruned, False

    def _members(self, source: Any, parent: Any, name: str, axes: Axes) -> None:
        if not stores.is_group(source):  # Long ago it was one array of records.
            self._array(source, parent, name, axes[:1])
            return
        target = parent.create_group(name)
        # The categories of old files come first: the columns refer to them.
        old = source["__categories"] if "__categories" in source else None
        if old is not None and self._pruning:
            categories = target.create_group("__categories")
            for column in old:
                self._old_column(source[column], target, old[column], categories, axes[0])
            stores.copy_attrs(old, categories)
        elif old is not None:
            self.cut(old, target, "__categories", (None,))
        for member in source:
            if member not in target:
                self.cut(source[member], target, member, axes)
        stores.copy_attrs(source, target)

    def _old_column(self, source: Any, target: Any, categories: Any, pruned: Any, axis: Ints | None) -> None:
        # Nothing that is written is removed again: HDF5 1.12 fails to copy afterwards.
        name = source.name.rsplit("/", 1)[-1]
        codes = np.concatenate(list(rows(source, axis)) or [np.empty(0, source.dtype)])
        codes = self.prune_codes(name, codes, int(categories.shape[0]))
        self.cut(categories, pruned, name, (self.pruned[name][1],))
        column = stores.create(source, target, name, codes.shape, None if stores.is_hdf5(source) else self._chunks(source, list(codes.shape)))
        if len(codes):
            column[:] = codes
        stores.copy_attrs(source, column)

    def prune_codes(self, column: str, codes: NDArray[Any], total: int) -> NDArray[Any]:
        """The codes of the categories that are left, which it notes, in their new places."""
        kept = np.unique(codes[codes >= 0]).astype(np.int64)
        # The last place is that of -1.
        place = np.full(max(total, int(kept.max(initial=-1)) + 1) + 1, -1, np.int64)
        place[kept] = np.arange(len(kept))
        self.pruned[column] = (total, kept)
        return place[codes].astype(codes.dtype)

    def _array(self, source: Any, parent: Any, name: str, axes: Axes) -> None:
        if len(axes) > len(source.shape):
            raise CutError(f"{source.name}: it has {len(source.shape)} axes, not {len(axes)}")
        size = [n if a is None else len(a) for n, a in zip(source.shape, axes)] + list(source.shape[len(axes) :])
        target = stores.create(source, parent, name, tuple(size), None if stores.is_hdf5(source) else self._chunks(source, size))
        at = 0
        for block in rows(source, axes[0], self.progress):
            for axis, selected in enumerate(axes[1:], 1):
                if selected is not None:
                    block = np.take(block, selected, axis=axis)
            if block.size:
                target[at : at + len(block)] = block
            at += len(block)
        stores.copy_attrs(source, target)

    @staticmethod
    def _chunks(source: Any, size: list[int]) -> tuple[int, ...]:
        return tuple(min(c, max(n, 1)) for c, n in zip(source.chunks, size))

    def _sparse(self, source: Any, parent: Any, name: str, axes: Axes) -> None:
        full = shape(source)
        by_row = encoding(source) == "csr_matrix"
        major, minor = (0, 1) if by_row else (1, 0)
        axes = (*axes, None)[:2]
        matrix = Sparse(source.name, source, full[major], full[minor])
        selected = np.arange(full[major]) if axes[major] is None else axes[major]
        self.write_sparse(source, parent.create_group(name), matrix.blocks(selected, self.progress), places(full[minor], axes[minor]), matrix.count(selected))
        stores.copy_attrs(source, parent[name])
        size = [n if a is None else len(a) for n, a in zip(full, axes)]
        set_shape(parent[name], size)

    def write_sparse(self, source: Any, target: Any, blocks: Iterable[Block], place: NDArray[Any] | None, most: int) -> None:
        """Writes the three arrays of a matrix from its blocks, which hold at most so
        many values."""
        chunk = (max(1, min(stores.CHUNK, most)),)
        out = {n: stores.create(source[n], target, n, (0,), chunk) for n in ("data", "indices")}
        lengths: list[Ints] = [np.zeros(1, np.int64)]
        at = 0
        for block in blocks:
            block = select(block, place)
            end = at + len(block.data)
            for array, values in ((out["data"], block.data), (out["indices"], block.indices)):
                array.resize((end,))
                if len(values):
                    array[at:end] = values
            lengths.append(block.lengths)
            at = end
        indptr = np.cumsum(np.concatenate(lengths))
        written = stores.create(source["indptr"], target, "indptr", indptr.shape, None)
        written[:] = indptr
        for n in ("data", "indices", "indptr"):
            stores.copy_attrs(source[n], target[n])

    def _categorical(self, source: Any, parent: Any, name: str, axes: Axes) -> None:
        target = parent.create_group(name)
        self._array(source["codes"], target, "codes", axes)
        kept: Ints | None = None
        if self._pruning:
            categories = source["categories"]
            categories = categories["values"] if stores.is_group(categories) else categories
            target["codes"][:] = self.prune_codes(name, target["codes"][:], int(categories.shape[0]))
            kept = self.pruned[name][1]
        self.cut(source["categories"], target, "categories", (kept,))
        stores.copy_attrs(source, target)


def set_shape(target: Any, size: list[int]) -> None:
    """Writes a sparse matrix's shape, where it had one."""
    for attr in ("shape", "h5sparse_shape"):
        if attr in target.attrs:
            target.attrs[attr] = size if not stores.is_hdf5(target) else np.array(size, dtype=np.int64)
