"""Count matrices of 10x Genomics in HDF5: cells are the columns of a CSC matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from . import stores
from .annotations import texts
from .cutting import Cutter
from .errors import DAMAGED, CutError
from .progress import Progress
from .sampling import Ints
from .sparse import Sparse, Spool, places


class TenXFile:
    """Cell Ranger 3 (matrix/features) and 2 (one group, named for the genome)."""

    format = "10x-h5"
    obs = None

    def __init__(self, root: Any) -> None:
        self.root = root
        names = [n for n in root if stores.is_group(root[n]) and "barcodes" in root[n] and "indptr" in root[n]]
        if len(names) != 1:
            raise CutError(f"it has {len(names)} matrices of 10x Genomics, {', '.join(names)}; one can be cut", "write the genome that the notebook reads to a file of its own")
        self.name = names[0]
        self.group = root[self.name]
        genes, cells = (int(n) for n in self.group["shape"][:])
        self.cells, self.genes = cells, genes
        self.matrix = Sparse(self.name, self.group, cells, genes)
        if self.group["barcodes"].shape != (cells,):
            raise CutError(f"{self.name}: barcodes do not fit {cells} cells", DAMAGED)

    def gene_names(self) -> list[list[str]]:
        """Columns with a name for each gene."""
        group = self.group["features"] if "features" in self.group else self.group
        return [texts(group[n][:]) for n in ("id", "name", "genes", "gene_names") if n in group and group[n].shape == (self.genes,)]

    def bytes(self, cells: Ints) -> tuple[int, int, int]:
        """Bytes to read, at most to write, and at most for a spool."""
        names = sum(stores.size(self.group[n]) for n in self.group if n not in ("data", "indices"))
        return self.matrix.count(np.arange(self.cells)) * self.matrix.item, self.matrix.count(cells) * self.matrix.item + names, self.matrix.spooled(cells)

    def detect(self, cells: Ints, spool: Path, progress: Progress) -> tuple[Ints, Spool | None]:
        """In how many of the cells each gene is detected."""
        counts = np.zeros(self.genes, np.int64)
        kept = Spool(spool, self.matrix)
        progress.part = self.name
        for b in kept.fill(self.matrix.blocks(cells, progress)):
            counts += np.bincount(b.indices[b.data != 0], minlength=self.genes)
        return counts, kept

    def write(self, target: Any, cutter: Cutter, cells: Ints | None, genes: Ints | None, spool: Spool | None) -> list[str]:
        """Writes the matrix and its names; returns what else there is."""
        out = target.create_group(self.name)
        chosen = np.arange(self.cells) if cells is None else cells
        blocks = spool.blocks() if spool else self.matrix.blocks(chosen, cutter.progress)
        cutter.write_sparse(self.group, out, blocks, places(self.genes, genes), self.matrix.count(chosen))
        for member in self.group:
            element = self.group[member]
            if member == "features":
                self._features(element, out.create_group(member), cutter, genes)
            elif member in ("barcodes", "filtered_barcodes"):
                cutter.cut(element, out, member, (cells,))
            elif member == "shape":
                stores.copy(element, out, member)
                out[member][:] = [self.genes if genes is None else len(genes), len(chosen)]
            elif member not in out:
                cutter.cut(element, out, member, (genes if getattr(element, "shape", ())[:1] == (self.genes,) else None,))
        stores.copy_attrs(self.group, out)
        stores.copy_attrs(self.root, target)
        return [n for n in self.root if n != self.name]

    def _features(self, source: Any, target: Any, cutter: Cutter, genes: Ints | None) -> None:
        for name in source:
            element = source[name]
            if name == "target_sets" and genes is not None:
                self._target_sets(element, target.create_group(name), genes)
            else:
                per_gene = not stores.is_group(element) and element.shape[:1] == (self.genes,)
                cutter.cut(element, target, name, (genes if per_gene else None,))
        stores.copy_attrs(source, target)

    def _target_sets(self, source: Any, target: Any, genes: Ints) -> None:
        """Of a targeted panel or of probes: which features, by their place."""
        place = np.full(self.genes, -1, np.int64)
        place[genes] = np.arange(len(genes))
        for name in source:
            members = source[name][:].astype(np.int64)
            if members.size and (members.min() < 0 or members.max() >= self.genes):
                raise CutError(f"{source[name].name}: a feature is not below {self.genes}", DAMAGED)
            left = place[members]
            left = left[left >= 0]
            written = stores.create(source[name], target, name, left.shape, None)
            written[...] = left
            stores.copy_attrs(source[name], written)
        stores.copy_attrs(source, target)
