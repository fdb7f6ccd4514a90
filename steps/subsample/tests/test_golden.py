"""What is cut equals what anndata itself selects, in every slot."""

import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from step_runner_cut import cutting, inflate, reading, stores

from helpers import cut, make, matrix, pruning, same, select, sparse_dataset, zarr_format


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Small blocks, so that small data has many."""
    monkeypatch.setattr(reading.spans, "__defaults__", (97,))
    monkeypatch.setattr(reading, "GAP", 7)
    monkeypatch.setattr(cutting, "DENSE", 512)
    monkeypatch.setattr(stores, "CHUNK", 64)


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_h5ad(tmp_path, kind, compression):
    make(200, 60, kind).write_h5ad(tmp_path / "in.h5ad", compression=compression)
    m = cut(tmp_path / "in.h5ad", tmp_path / "out.h5ad")
    assert m["before"] == {"cells": 200, "genes": 60} and m["after"] == {"cells": 50, "genes": 20}
    assert (len(m["cells"]), len(m["genes"])) == (50, 20)
    same(ad.read_h5ad(tmp_path / "out.h5ad"), select(ad.read_h5ad(tmp_path / "in.h5ad"), m))
    # Also as those read it who do not load it.
    backed = ad.read_h5ad(tmp_path / "out.h5ad", backed="r")
    assert backed.shape == (50, 20) and backed[:3].to_memory().shape == (3, 20)
    backed.file.close()
    with h5py.File(tmp_path / "out.h5ad") as f:
        assert sparse_dataset(f["layers/csr"])[3:5].shape == (2, 20)
        assert f["X"].attrs["encoding-type"] == {"dense": "array"}.get(kind, f"{kind}_matrix")


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
@pytest.mark.parametrize("version", [2, 3])
def test_zarr(tmp_path, kind, version):
    with zarr_format(version):
        make(60, 24, kind).write_zarr(tmp_path / "in.zarr")
    m = cut(tmp_path / "in.zarr", tmp_path / "out.zarr", max_cells=30)
    assert m["format"] == "zarr"
    same(ad.read_zarr(tmp_path / "out.zarr"), select(ad.read_zarr(tmp_path / "in.zarr"), m))
    # And with its metadata in one place, as anndata writes it since 0.11.
    consolidated = [p for p in (".zmetadata", "zarr.json") if (tmp_path / "in.zarr" / p).exists()]
    if consolidated:
        assert zarr.open_consolidated(str(tmp_path / "in.zarr"))["X"] and zarr.open_consolidated(str(tmp_path / "out.zarr"))["X"]
    assert (tmp_path / "out.zarr" / ("zarr.json" if version == 3 else ".zgroup")).exists()


@pytest.mark.parametrize("limits", [(700, 100), (100, 765), (123, 456)])
def test_pbmc68k(tmp_path, limits):
    """A file that others made, long ago: tables of records, categories in uns."""
    path = Path(sc.__file__).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
    m = cut(path, tmp_path / "out.h5ad", max_cells=limits[0], max_genes=limits[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(ad.read_h5ad(tmp_path / "out.h5ad"), select(ad.read_h5ad(path), m))
        # And as the anndata of today writes it.
        ad.read_h5ad(path).write_h5ad(tmp_path / "new.h5ad", compression="gzip")
    again = cut(tmp_path / "new.h5ad", tmp_path / "new_out.h5ad", max_cells=limits[0], max_genes=limits[1])
    assert (again["cells"], again["genes"]) == (m["cells"], m["genes"])
    same(ad.read_h5ad(tmp_path / "new_out.h5ad"), select(ad.read_h5ad(tmp_path / "new.h5ad"), m))


def test_old_categories(tmp_path):
    """anndata 0.6 to 0.7 wrote codes that refer to __categories."""
    with h5py.File(tmp_path / "in.h5ad", "w") as f:
        f["X"] = np.arange(80.0).reshape(20, 4)
        for name, n in (("obs", 20), ("var", 4)):
            g = f.create_group(name)
            g.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.1.0", "_index": "index"})
            g.attrs["column-order"] = np.array(["c"] if name == "obs" else [], dtype=h5py.string_dtype())
            g.create_dataset("index", data=[f"{name}{i}" for i in range(n)], dtype=h5py.string_dtype())
        f["obs/__categories/c"] = np.array(["a", "b"], dtype=h5py.string_dtype())
        f["obs/c"] = np.array([0, 1] * 10, dtype=np.int8)
        f["obs/c"].attrs["categories"] = f["obs/__categories/c"].ref
    m = cut(tmp_path / "in.h5ad", tmp_path / "out.h5ad", max_cells=7, max_genes=9, stratify_by="c")
    same(ad.read_h5ad(tmp_path / "out.h5ad"), select(ad.read_h5ad(tmp_path / "in.h5ad"), m))
    assert [s["before"] for s in m["strata"]] == [10, 10]


@pytest.mark.parametrize("cells", [50, 200])
def test_prune(tmp_path, cells):
    a = make(200, 30)
    a.obs["donor"] = pd.Categorical(["d1"] * 199 + ["d2" if cells == 50 else "d1"], ["d0", "d1", "d2"])
    a.uns["donor_colors"] = np.array(["#0", "#1", "#2"])
    # Pruned too, but the colours are those of obs.
    a.obsm["frame"]["donor"] = pd.Categorical(["d2"] * 200, ["d1", "d2"])
    a.write_h5ad(tmp_path / "in.h5ad")
    m = cut(tmp_path / "in.h5ad", tmp_path / "out.h5ad", max_cells=cells, prune_categories=True)
    assert m["after"]["cells"] == cells and (cells == 200 or 199 not in m["cells"])
    with pruning():
        want = select(ad.read_h5ad(tmp_path / "in.h5ad"), m)
    got = ad.read_h5ad(tmp_path / "out.h5ad")
    assert list(got.obs["donor"].cat.categories) == ["d1"] and list(got.uns["donor_colors"]) == ["#1"]
    same(got, want)


def test_no_x(tmp_path):
    a = make(100, 30)
    b = ad.AnnData(obs=a.obs, var=a.var, layers={"counts": a.layers["csr"]})
    b.write_h5ad(tmp_path / "in.h5ad")
    m = cut(tmp_path / "in.h5ad", tmp_path / "out.h5ad", max_genes=12)
    same(ad.read_h5ad(tmp_path / "out.h5ad"), select(ad.read_h5ad(tmp_path / "in.h5ad"), m))


def write_10x(path, a, version):
    with h5py.File(path, "w") as f:
        g = f.create_group("matrix" if version == 3 else "GRCh38")
        x = a.X.tocsr().astype(np.int32)
        for name in ("data", "indices", "indptr"):
            g.create_dataset(name, data=getattr(x, name), compression="gzip", shuffle=True)
        g["shape"] = np.array([a.n_vars, a.n_obs], np.int32)
        g["barcodes"] = a.obs_names.to_numpy().astype("S")
        names = {"id": a.var_names.to_numpy().astype("S"), "name": a.var["feature_name"].to_numpy().astype("S")}
        if version == 3:
            h = g.create_group("features")
            for name, value in (names | {"feature_type": np.array([b"Gene Expression"] * a.n_vars), "genome": np.array([b"GRCh38"] * a.n_vars)}).items():
                h[name] = value
            h["_all_tag_keys"] = np.array([b"genome"])
        else:
            g["genes"], g["gene_names"] = names["id"], names["name"]
        f.attrs["chemistry_description"] = "v3"


@pytest.mark.parametrize("version", [2, 3])
def test_10x(tmp_path, version):
    write_10x(tmp_path / "in.h5", make(200, 60), version)
    m = cut(tmp_path / "in.h5", tmp_path / "out.h5", named=[{"name": "name0", "why": "notebook"}])
    assert m["format"] == "10x-h5" and 0 in m["genes"]
    same(sc.read_10x_h5(tmp_path / "out.h5"), select(sc.read_10x_h5(tmp_path / "in.h5"), m))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.integers(1, 60),
    genes=st.integers(1, 40),
    kind=st.sampled_from(["csr", "csc", "dense"]),
    density=st.sampled_from([0, 0.05, 0.5, 1]),
    dtype=st.sampled_from(["float32", "float64", "int32", "uint8"]),
    index=st.sampled_from(["int32", "int64"]),
    compression=st.sampled_from([None, "gzip", "lzf"]),
    shuffle=st.booleans(),
    chunk=st.integers(1, 200),
    limits=st.tuples(st.integers(1, 70), st.integers(1, 50)),
    method=st.sampled_from(["uniform", "blocks"]),
    libdeflate=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
)
def test_any(tmp_path_factory, cells, genes, kind, density, dtype, index, compression, shuffle, chunk, limits, method, libdeflate, seed):
    tmp = tmp_path_factory.mktemp("any")
    rng = np.random.default_rng(seed)
    x = matrix(rng, cells, genes, kind, density, np.dtype(dtype))
    a = ad.AnnData(x, layers={"l": x.copy()}, obs=pd.DataFrame(index=[f"c{i}" for i in range(cells)]), var=pd.DataFrame(index=[f"g{i}" for i in range(genes)]))
    a.write_h5ad(tmp / "in.h5ad")
    # Its arrays anew, stored as any writer might have.
    with h5py.File(tmp / "in.h5ad", "a") as f:
        for name in ("X", "layers/l"):
            for array in [f"{name}/{n}" for n in ("data", "indices", "indptr")] if sparse.issparse(x) else [name]:
                values, attrs = f[array][:], dict(f[array].attrs)
                del f[array]
                if array.endswith(("indices", "indptr")):
                    values = values.astype(index)
                chunks = tuple(min(chunk, max(n, 1)) for n in values.shape)
                d = f.create_dataset(array, data=values, chunks=chunks, maxshape=(None,) * values.ndim, compression=compression, shuffle=shuffle)
                d.attrs.update(attrs)
    with pytest.MonkeyPatch.context() as patch:
        if not libdeflate:
            patch.setattr(inflate, "_decompressor", None)
        m = cut(tmp / "in.h5ad", tmp / "out.h5ad", max_cells=limits[0], max_genes=limits[1], method=method, seed=seed)
    assert m["after"] == {"cells": min(cells, limits[0]), "genes": min(genes, limits[1])}
    if m["way"] == "cut":
        want = select(ad.read_h5ad(tmp / "in.h5ad"), m)
        same(ad.read_h5ad(tmp / "out.h5ad"), want)
        # The genes that are left are those that the most of these cells have.
        counts = np.asarray((ad.read_h5ad(tmp / "in.h5ad")[m["cells"]].X != 0).sum(axis=0)).ravel()
        left = np.setdiff1d(np.arange(genes), m["genes"])
        assert not len(left) or counts[left].max() <= counts[m["genes"]].min()
