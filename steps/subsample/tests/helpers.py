"""What the tests share: data of every shape, the program, and the comparison with anndata."""

import contextlib
import io
import json
import os

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from step_runner_cut import main
from step_runner_cut.progress import Progress

# anndata leaves out categories when it selects; that is --prune-categories. Since
# 0.11 it can be told not to.
PRUNES = not hasattr(ad, "settings")
# Before 0.12 it left them in the frames of obsm all the same.
KEEPS = [int(n) for n in ad.__version__.split(".")[:2]] < [0, 12]
if not PRUNES:
    ad.settings.remove_unused_categories = False


def pruning():
    """anndata leaves categories out."""
    return contextlib.nullcontext() if PRUNES else ad.settings.override(remove_unused_categories=True)


def zarr_format(version):
    """anndata writes Zarr of that version; older ones know one version."""
    if hasattr(ad, "settings") and "zarr_write_format" in dir(ad.settings):
        return ad.settings.override(zarr_write_format=version)
    if version != 2:
        pytest.skip("this anndata writes Zarr 2 only")
    return contextlib.nullcontext()


def sparse_dataset(group):
    """A sparse matrix that is not loaded."""
    if hasattr(ad, "io"):
        return ad.io.sparse_dataset(group)
    try:
        from anndata.experimental import sparse_dataset as sparse
    except ImportError:
        from anndata._core.sparse_dataset import SparseDataset as sparse

    return sparse(group)


def matrix(rng, rows, columns, kind, density=0.3, dtype=np.float32):
    m = sparse.random(rows, columns, density, "csr", dtype, rng, data_rvs=lambda n: rng.integers(1, 9, n).astype(dtype))
    m.sort_indices()
    return {"csr": m, "csc": m.tocsc(), "dense": m.toarray()}[kind]


def make(cells, genes, kind="csr", seed=0, raw=True):
    """An AnnData with something in every slot."""
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "donor": pd.Categorical(rng.choice(["d1", "d2", "d3"], cells), ["d3", "d2", "d1", "none"]),
            "grade": pd.Categorical(rng.choice(["low", "high"], cells), ["low", "high"], ordered=True),
            "score": rng.random(cells),
            "text": [f"é{i}" for i in range(cells)],
            "flag": rng.random(cells) < 0.5,
            "count": pd.array(rng.integers(0, 9, cells), "Int64"),
            "maybe": pd.array([None if i % 3 else True for i in range(cells)], "boolean"),
        },
        index=[f"cell{i}" for i in range(cells)],
    )
    obs.iloc[::5, 0] = np.nan
    names = [f"{p}{i}" for i, p in zip(range(genes), ["G", "MT-", "RPL", "H", "H", "H", "H"] * genes)]
    var = pd.DataFrame({"feature_name": [f"name{i}" for i in range(genes)], "mean": rng.random(genes)}, index=names)
    a = ad.AnnData(
        matrix(rng, cells, genes, kind),
        obs,
        var,
        layers={"csr": matrix(rng, cells, genes, "csr"), "csc": matrix(rng, cells, genes, "csc", dtype=np.float64), "dense": matrix(rng, cells, genes, "dense")},
        obsm={"X_pca": rng.random((cells, 3)), "frame": pd.DataFrame({"x": rng.random(cells)}, index=obs.index), "cube": rng.random((cells, 2, 2)), "sparse": matrix(rng, cells, 4, "csr")},
        varm={"PCs": rng.random((genes, 3))},
        obsp={"distances": matrix(rng, cells, cells, "csr"), "dense": rng.random((cells, cells))},
        varp={"corr": matrix(rng, genes, genes, "csc")},
        uns={"donor_colors": np.array(["#1", "#2", "#3", "#4"]), "deep": {"list": [1, 2], "text": "t", "frame": pd.DataFrame({"a": [1]})}},
    )
    if raw:
        a.raw = ad.AnnData(matrix(rng, cells, genes + 2, "csr"), obs[[]], pd.DataFrame(index=[f"r{i}" for i in range(genes + 2)]))
    return a


def request(source, out, **options):
    asked = {"mode": "cut", "in": str(source), "out": str(out), "spool": os.path.dirname(out), "max_cells": 50, "max_genes": 20, "seed": 0, "stratify_by": "", "method": "uniform", "prune_categories": PRUNES, "named": []}
    return asked | options


def cut(source, out, **options):
    """The manifest of a cut in this process."""
    return json.loads(json.dumps(main.cut(request(source, out, **options), Progress(io.StringIO()))))


def same_matrix(a, b, what):
    assert type(a) is type(b), what
    assert a.shape == b.shape and a.dtype == b.dtype, what
    if sparse.issparse(a):
        a.sort_indices(), b.sort_indices()
        assert np.array_equal(a.indptr, b.indptr) and np.array_equal(a.indices, b.indices), what
        a, b = a.data, b.data
    np.testing.assert_array_equal(a, b, what)


def same_value(a, b, what):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), what
        for k in a:
            same_value(a[k], b[k], f"{what}/{k}")
    elif isinstance(a, pd.DataFrame):
        if KEEPS:
            a, b = ({n: c.cat.remove_unused_categories() if isinstance(c.dtype, pd.CategoricalDtype) else c for n, c in x.items()} for x in (a, b))
            a, b = pd.DataFrame(a), pd.DataFrame(b)
        pd.testing.assert_frame_equal(a, b)
    elif sparse.issparse(a) or isinstance(a, np.ndarray) and a.dtype.names is None:
        same_matrix(a, b, what)
    else:
        np.testing.assert_equal(a, b, what)


def same(got, want):
    """Every slot of got equals that of want, which is adata[cells, genes].copy()."""
    pd.testing.assert_frame_equal(got.obs, want.obs)
    pd.testing.assert_frame_equal(got.var, want.var)
    if want.X is None:
        assert got.X is None
    else:
        same_matrix(got.X, want.X, "X")
    for slot in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
        same_value(dict(getattr(got, slot)), dict(getattr(want, slot)), slot)
    assert (got.raw is None) == (want.raw is None)
    if want.raw is not None:
        same_matrix(got.raw.X, want.raw.X, "raw.X")
        pd.testing.assert_frame_equal(got.raw.var, want.raw.var)
        same_value(dict(got.raw.varm), dict(want.raw.varm), "raw.varm")


def select(a, manifest):
    """What anndata itself makes of the selection."""
    if manifest["cells"] is None:
        return a
    return a[manifest["cells"], manifest["genes"]].copy()
