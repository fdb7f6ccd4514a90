"""bench.py make PATH CELLS: data like that of a large study, 20,000 genes, 1,000 of them in each cell.
bench.py repeat PATH CELLS SOURCE: so many cells of SOURCE, over and over.
bench.py upstream PATH CELLS GENES OUT: what upstream does: reads all, then takes cells and genes at random."""

import contextlib
import os
import sys

import numpy as np

GENES, PER_CELL, BLOCK = 20_000, 1_000, 2_000
# Of 40 cells, so that chunks end where rows do.
CHUNK = 40_000


@contextlib.contextmanager
def new(path: str, cells: int):
    """The file with all but X's values, and with X's group."""
    import anndata as ad
    import h5py
    import pandas as pd

    obs = pd.DataFrame({"donor": pd.Categorical.from_codes(np.arange(cells) * 20 // cells, [f"d{i}" for i in range(20)])}, index=[f"cell{i}" for i in range(cells)])
    var = pd.DataFrame({"feature_name": [f"name{i}" for i in range(GENES)]}, index=[f"ENSG{i:011}" for i in range(GENES)])
    temp = path + ".part"
    ad.AnnData(obs=obs, var=var).write_h5ad(temp)
    with h5py.File(temp, "a") as f:
        if "X" in f:
            del f["X"]
        x = f.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([cells, GENES])})
        stored = dict(shape=(cells * PER_CELL,), compression="gzip", chunks=(CHUNK,))
        data, indices = x.create_dataset("data", dtype="f4", **stored), x.create_dataset("indices", dtype="i4", **stored)
        x["indptr"] = np.arange(cells + 1, dtype=np.int64) * PER_CELL
        yield data, indices
    os.rename(temp, path)


def make(path: str, cells: int) -> None:
    rng = np.random.default_rng(0)
    # Few genes are in most cells and most genes in few, as in real data.
    chance = np.log(rng.pareto(1.2, GENES) + 0.02).astype(np.float32)
    with new(path, cells) as (data, indices):
        # Drawing is slow; a few drawn blocks are taken again, their rows in another order.
        drawn = []
        for at in range(0, cells, BLOCK):
            n = min(BLOCK, cells - at)
            if len(drawn) < 4:
                keys = chance + rng.gumbel(size=(BLOCK, GENES)).astype(np.float32)
                drawn.append(np.sort(np.argpartition(-keys, PER_CELL, axis=1)[:, :PER_CELL].astype(np.int32), axis=1))
            block = drawn[at // BLOCK % len(drawn)][rng.permutation(BLOCK)[:n]].ravel()
            indices[at * PER_CELL : (at + n) * PER_CELL] = block
            data[at * PER_CELL : (at + n) * PER_CELL] = rng.geometric(0.5, len(block)).astype(np.float32)


def repeat(path: str, cells: int, source: str) -> None:
    import h5py

    with new(path, cells) as arrays, h5py.File(source) as f:
        for array in arrays:
            whole = f[array.name]
            for at in range(0, len(array), CHUNK):
                mask, packed = whole.id.read_direct_chunk((at % len(whole),))
                array.id.write_direct_chunk((at,), packed, mask)


def upstream(path: str, cells: int, genes: int, out: str) -> None:
    import anndata as ad

    a = ad.read_h5ad(path)
    rows = np.random.choice(a.n_obs, cells, replace=False)
    a = a[rows, :].copy()
    columns = np.random.choice(a.n_vars, genes, replace=False)
    a = a[:, columns].copy()
    if out:
        a.write_h5ad(out)


if sys.argv[1] == "upstream":
    upstream(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
elif not os.path.exists(sys.argv[2]):
    {"make": make, "repeat": repeat}[sys.argv[1]](sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
