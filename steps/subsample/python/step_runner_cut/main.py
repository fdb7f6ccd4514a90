"""The program: reads a request, cuts, and says on stdout what came of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import sys
import traceback
import zlib
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import DAMAGED, CutError, need
from .progress import Progress


def main() -> None:
    """Never ends with an exit code of 0 unless it has said a result."""
    # What a library prints must not come between our lines.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    progress = Progress(out)
    try:
        preflight()
        request = json.loads(Path(sys.argv[1]).read_text())
        result = {"versions": versions()} if request["mode"] == "versions" else cut(request, progress)
    except BaseException as e:
        failure = classify(e)
        if failure.kind == "internal":
            traceback.print_exc()
        progress.say(failure={"kind": failure.kind, "message": failure.message, "hint": failure.hint})
        sys.exit(1)
    progress.say(result=result)


def preflight() -> None:
    """What is too old is told before it fails somewhere."""
    if sys.version_info < (3, 10):
        raise CutError(f"{sys.executable} is Python {platform.python_version()}, 3.10 is needed", "name another interpreter", "missing-tool")
    need("numpy", (1, 21))


def classify(e: BaseException) -> CutError:
    """The failure that an exception means."""
    text = str(e)
    if isinstance(e, CutError):
        return e
    if isinstance(e, ImportError):
        return CutError(f"{sys.executable} cannot import what is needed to read it: {text}", "install numpy, and h5py for HDF5 or zarr for Zarr", "missing-tool")
    if isinstance(e, MemoryError):
        return CutError("memory ran out while it was cut", kind="out-of-memory")
    full = isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or any(words in text for words in ("No space left", "Disk quota exceeded", "File too large")):
        return CutError(f"no space left for what is cut: {text}", kind="disk-full")
    if isinstance(e, PermissionError):
        return CutError(f"it cannot be read: {text}")
    # h5py raises these for what it cannot read; ours have been told above.
    if isinstance(e, (zlib.error, OSError)) or isinstance(e, (RuntimeError, KeyError)) and ("Can't" in text or "Unable to" in text):
        return CutError(f"it cannot be read: {text}", DAMAGED)
    return CutError(f"{type(e).__name__}: {text}", kind="internal")


def versions() -> dict[str, str]:
    """Of what has a say in what is written."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "h5py", "zarr", "anndata"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def open_data(root: Any) -> Any:
    """The file as what it is."""
    from . import stores
    from .anndata_file import AnnDataFile
    from .tenx_file import TenXFile

    tenx = stores.is_hdf5(root) and "obs" not in root and any(stores.is_group(root[n]) and "barcodes" in root[n] for n in root)
    return TenXFile(root) if tenx else AnnDataFile(root)


def cut(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Carries out a request; returns the manifest."""
    import numpy as np

    from . import sampling, stores
    from .cutting import Cutter

    source = stores.open_source(request["in"])
    data = open_data(source)
    result: dict[str, Any] = {n: request[n] for n in ("max_cells", "max_genes", "seed", "method", "stratify_by", "prune_categories")}
    result |= {"format": data.format, "versions": versions(), "way": "whole", "cells": None, "genes": None}
    result["before"] = result["after"] = {"cells": data.cells, "genes": data.genes}
    column = request["stratify_by"]
    strata = stratum(data, column) if column else None
    named = sampling.by_name(data.gene_names(), request["named"] or [])
    result |= {"missing": named.missing} if named.missing else {}
    if data.cells <= request["max_cells"] and data.genes <= request["max_genes"]:
        return result

    cells = select_cells(data, request, strata)
    genes, spool = np.arange(data.genes, dtype=np.int64), None
    progress.total, size, spool_size = data.bytes(cells)
    need_room(request["spool"], size + (spool_size if data.genes > request["max_genes"] else 0))
    if data.genes > request["max_genes"]:
        detected, spool = data.detect(cells, Path(request["spool"]), progress)
        genes = sampling.genes(named.forced, detected, request["max_genes"])
    target = stores.create_output(request["out"], source)
    cutter = Cutter(progress, request["prune_categories"])
    result["left_out"] = data.write(target, cutter, narrowed(cells, data.cells), narrowed(genes, data.genes), spool)
    stores.finish(target, request["in"])
    result |= {"way": "cut", "after": {"cells": len(cells), "genes": len(genes)}, "kept": named.kept}
    result |= {"cells": cells.tolist(), "genes": genes.tolist(), "cells_sha256": digest(cells), "genes_sha256": digest(genes)}
    if strata:
        result["strata"] = sampling.strata(*strata, cells)
    result["shifts"] = shifts(data, cells)
    # What is empty reads as not there, and is written so too.
    return {n: v for n, v in result.items() if v not in ([], {})}


def stratum(data: Any, column: str) -> tuple[list[str], Any]:
    """The values of the column and each cell's; what has none is a value of its own."""
    if data.obs is None or column not in data.obs.columns():
        have = ", ".join(data.obs.columns()) if data.obs else "none"
        raise CutError(f"obs has no column {column!r}", f"its columns are: {have}")
    values, codes = data.obs.coded(column)
    if (codes < 0).any():
        values, codes = [*values, "(none)"], codes.copy()
        codes[codes < 0] = len(values) - 1
    return values, codes


def select_cells(data: Any, request: dict[str, Any], strata: Any) -> Any:
    """By the method that was asked for."""
    from . import sampling

    count, seed = request["max_cells"], request["seed"]
    if request["method"] == "blocks":
        return sampling.blocks(data.cells, count, seed)
    if strata:
        return sampling.stratified(strata[1], count, seed)
    return sampling.uniform(data.cells, count, seed)


def shifts(data: Any, cells: Any) -> dict[str, float]:
    """How far each categorical column's distribution has moved."""
    import numpy as np

    from . import sampling

    found = {}
    for column in data.obs.categorical() if data.obs else []:
        values, codes = data.obs.coded(column)
        before, after = (np.bincount(c[c >= 0], minlength=len(values)) for c in (codes, codes[cells]))
        found[column] = sampling.shift(before, after)
    return found


def narrowed(selected: Any, total: int) -> Any:
    """None when all are selected."""
    return None if len(selected) == total else selected


def digest(selected: Any) -> str:
    """Of the indices, eight bytes each, little-endian."""
    return hashlib.sha256(selected.astype("<i8").tobytes()).hexdigest()


def need_room(directory: str, size: int) -> None:
    """Fails before anything is written when there is no room for it."""
    free = shutil.disk_usage(directory).free
    if free < size:
        raise CutError(f"what is cut needs up to {size >> 20} MiB of disk, and {free >> 20} MiB are free", kind="disk-full")
