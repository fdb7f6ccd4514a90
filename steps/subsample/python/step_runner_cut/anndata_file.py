"""AnnData in HDF5 and Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from . import stores
from .annotations import Annotation
from .cutting import Cutter, encoding, rows, set_shape, shape
from .errors import DAMAGED, CutError
from .progress import Progress
from .sampling import Ints
from .sparse import Sparse, Spool, places

_MAPPINGS = {"layers": "cg", "obsm": "c", "varm": "g", "obsp": "cc", "varp": "gg"}


class AnnDataFile:
    """An AnnData store that is to be cut."""

    def __init__(self, root: Any) -> None:
        self.root = root
        if "obs" not in root or "var" not in root:
            raise CutError("it has no obs and var, so it is no AnnData", "give an .h5ad file, a Zarr directory of AnnData, or a 10x .h5 file")
        self.obs, self.var = Annotation(root["obs"], root.get("uns")), Annotation(root["var"])
        self.cells, self.genes = len(self.obs), len(self.var)
        self.format = "h5ad" if stores.is_hdf5(root) else "zarr"
        for name in self._matrices():
            if shape(root[name]) != (self.cells, self.genes):
                raise CutError(f"{name}: its shape {shape(root[name])} is not that of obs and var, {(self.cells, self.genes)}", DAMAGED)
            if stores.is_group(root[name]) and (lost := {"data", "indices", "indptr"} - set(root[name])):
                raise CutError(f"{name}: the sparse matrix has no {', '.join(sorted(lost))}", DAMAGED)

    def _matrices(self) -> list[str]:
        found = ["X"] if "X" in self.root and (stores.is_group(self.root["X"]) or shape(self.root["X"]) != ()) else []
        return found + [f"layers/{name}" for name in sorted(self.root["layers"])] if "layers" in self.root else found

    def gene_names(self) -> list[list[str]]:
        """Columns with a name for each gene."""
        return self.var.names()

    def bytes(self, cells: Ints) -> tuple[int, int, int]:
        """Bytes to read of the matrices, at most to write, and at most for a spool."""
        matrices = [self.root[n] for n in [*self._matrices(), *(n for n in ("raw/X", "raw.X") if n in self.root)]]
        read = sum(m["data"].size * (m["data"].dtype.itemsize + m["indices"].dtype.itemsize) if stores.is_group(m) else m.size * m.dtype.itemsize for m in matrices)
        part = len(cells) / max(self.cells, 1)
        by_cell = {"X", "layers", "obs", "obsm", "obsp", "raw", "raw.X"}
        # Half the cells may have more than half of the values.
        write = sum(min(1, part * 1.1 if name in by_cell else 1) * stores.size(self.root[name]) for name in self.root)
        spool = 0
        if "X" in self._matrices() and encoding(self.root["X"]) == "csr_matrix":
            spool = self._sparse("X")[0].spooled(cells)
        return int(read), int(write), spool

    def detect(self, cells: Ints, spool: Path, progress: Progress) -> tuple[Ints, Spool | None]:
        """In how many of the cells each gene is detected: in X, else in the first
        layer. Of a matrix by rows the blocks are kept for write."""
        counts = np.zeros(self.genes, np.int64)
        if not self._matrices():
            return counts, None
        name = self._matrices()[0]
        element = self.root[name]
        progress.part = name
        if not stores.is_group(element):
            for block in rows(element, cells, progress):
                counts += np.count_nonzero(block, axis=0)
            return counts, None
        matrix, by_row = self._sparse(name)
        if by_row:
            kept = Spool(spool, matrix) if name == "X" else None
            blocks = matrix.blocks(cells, progress)
            for b in kept.fill(blocks) if kept else blocks:
                counts += np.bincount(b.indices[b.data != 0], minlength=self.genes)
            return counts, kept
        chosen = np.zeros(self.cells, bool)
        chosen[cells] = True
        at = 0
        for b in matrix.blocks(np.arange(self.genes, dtype=np.int64), progress):
            hits = np.concatenate([[0], np.cumsum(chosen[b.indices] & (b.data != 0), dtype=np.int64)])
            ends = np.cumsum(b.lengths)
            counts[at : at + len(ends)] = hits[ends] - hits[ends - b.lengths]
            at += len(ends)
        return counts, None

    def _sparse(self, name: str) -> tuple[Sparse, bool]:
        element = self.root[name]
        kind = encoding(element)
        if kind not in ("csr_matrix", "csc_matrix"):
            raise CutError(f"{name}: encoding {kind!r} is not supported")
        by_row = kind == "csr_matrix"
        return Sparse(name, element, *((self.cells, self.genes) if by_row else (self.genes, self.cells))), by_row

    def write(self, target: Any, cutter: Cutter, cells: Ints | None, genes: Ints | None, spool: Spool | None) -> list[str]:
        """Writes all that is AnnData's; returns what else there is."""
        axes = {"c": cells, "g": genes}
        left_out = []
        for name in sorted(self.root, key=lambda n: n == "uns"):
            element = self.root[name]
            if name == "X" and spool:
                self._from_spool(element, target, cutter, cells, genes, spool)
            elif name == "X":
                cutter.cut(element, target, name, (cells, genes))
            elif name in ("obs", "var"):
                cutter.annotation(element, target, name, axes["c" if name == "obs" else "g"])
                if cutter.prune and name == "obs" and not stores.is_group(element):
                    self._prune_records(target[name], cutter)
            elif name in _MAPPINGS:
                cutter.members(element, target, name, tuple(axes[a] for a in _MAPPINGS[name]))
            elif name == "raw" and stores.is_group(element):
                self._raw(element, target, cutter, cells)
            elif name == "raw.X":
                cutter.cut(element, target, name, (cells, None))
            elif name in ("raw.var", "raw.varm"):
                stores.copy(element, target, name)
            elif name == "uns":
                self._uns(element, target, cutter, cells)
            else:
                left_out.append(name)
        stores.copy_attrs(self.root, target)
        return left_out

    def _from_spool(self, element: Any, target: Any, cutter: Cutter, cells: Ints | None, genes: Ints | None, spool: Spool) -> None:
        group = target.create_group("X")
        cutter.write_sparse(element, group, spool.blocks(), places(self.genes, genes), spool.count())
        stores.copy_attrs(element, group)
        set_shape(group, [self.cells if cells is None else len(cells), self.genes if genes is None else len(genes)])

    @staticmethod
    def _raw(element: Any, target: Any, cutter: Cutter, cells: Ints | None) -> None:
        raw = target.create_group("raw")
        for member in element:
            if member == "X":
                cutter.cut(element[member], raw, member, (cells, None))
            else:  # raw has genes of its own, which are kept.
                stores.copy(element[member], raw, member)
        stores.copy_attrs(element, raw)

    def _uns(self, element: Any, target: Any, cutter: Cutter, cells: Ints | None) -> None:
        stores.copy(element, target, "uns")
        uns = target["uns"]
        # Of old files anndata moves these to obsp.
        for name in ("distances", "connectivities"):
            path = f"neighbors/{name}"
            if "obsp" not in self.root and path in element and cells is not None and shape(element[path]) == (self.cells, self.cells):
                del uns[path]
                cutter.cut(element[path], uns["neighbors"], name, (cells, cells))
        for column, (total, kept) in cutter.pruned.items():
            for name in (f"{column}_colors", *([] if self.obs.group else [f"{column}_categories"])):
                if name in element and not stores.is_group(element[name]) and element[name].shape == (total,):
                    del uns[name]
                    cutter.cut(element[name], uns, name, (kept,))

    def _prune_records(self, table: Any, cutter: Cutter) -> None:
        records = table[:]
        for column in self.obs.categorical():
            records[column] = cutter.prune_codes(column, records[column], len(self.obs.coded(column)[0]))
        table[:] = records
