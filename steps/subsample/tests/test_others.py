"""Files that others made, in data/, against anndata and scanpy themselves."""

import contextlib
import warnings
import zipfile
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
import scanpy as sc
from step_runner_cut.errors import CutError

from helpers import PRUNES, cut, pruning, same, select

DATA = Path(__file__).parent / "data"
FILES = {
    "anndata/v0.7.0/adata.h5ad": (30, 20),
    "anndata/v0.7.0/adata.zarr.zip": (30, 20),
    "anndata/v0.7.8/adata.h5ad": (30, 20),
    "anndata/v0.7.8/adata.zarr.zip": (30, 20),
    "anndata/v0.11.4/adata.h5ad": (10, 20),
    "anndata/v0.11.4/adata.zarr.zip": (10, 20),
    "scanpy/cellranger_1.2.0.h5": (12, 343),
    "scanpy/cellranger_3.0.0.h5": (1107, 507),
    "scanpy/visium_1.0.0.h5": (100, 100),
    "scanpy/visium_2.1.0_probes.h5": (4987, 1000),
    "scanpy/10x-10k-subset.zarr.zip": (10_000, 1000),
    # What comes with scanpy is what anndata has as written by its 0.5.0.
    str(Path(sc.__file__).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"): (700, 765),
}


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix == ".h5":
            return sc.read_10x_h5(path, gex_only=False)
        return (ad.read_zarr if path.is_dir() else ad.read_h5ad)(path)


def unpacked(name, directory):
    if not name.endswith(".zip"):
        return DATA / name
    with zipfile.ZipFile(DATA / name) as z:
        z.extractall(directory / "in.zarr")
    return directory / "in.zarr"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("part", "prune"), [((0.5, 0.5), False), ((1, 0.3), False), ((0.3, 1), False), ((0.3, 0.5), True), ((1, 0.3), True)])
def test_equal(tmp_path, name, part, prune):
    if not prune and PRUNES or prune and name.endswith(".h5"):
        pytest.skip("this anndata always prunes, or 10x has no categories")
    source = unpacked(name, tmp_path)
    whole = read(source)
    assert whole.shape == FILES[name]
    limits = [max(1, int(n * p)) for n, p in zip(whole.shape, part)]
    out = tmp_path / f"out{source.suffix}"
    m = cut(source, out, max_cells=limits[0], max_genes=limits[1], prune_categories=prune)
    assert m["way"] == "cut" and list(m["after"].values()) == limits
    assert "left_out" not in m
    with pruning() if prune else contextlib.nullcontext():
        want = select(whole, m)
    same(read(out), want)


def test_probes(tmp_path):
    """What scanpy does not read is cut too."""
    m = cut(DATA / "scanpy/visium_2.1.0_probes.h5", tmp_path / "out.h5", max_cells=100, max_genes=300)
    with h5py.File(DATA / "scanpy/visium_2.1.0_probes.h5") as whole, h5py.File(tmp_path / "out.h5") as got:
        sets = "matrix/features/target_sets/Visium Mouse Transcriptome Probe Set"
        want = np.flatnonzero(np.isin(m["genes"], whole[sets][:]))
        assert 0 < len(want) < 300
        assert np.array_equal(got[sets][:], want) and got[sets].dtype == whole[sets].dtype
        assert np.array_equal(got["matrix/filtered_barcodes"][:], whole["matrix/filtered_barcodes"][:][m["cells"]])


def test_two_genomes(tmp_path):
    """scanpy asks which one; nobody can be asked here."""
    source = DATA / "scanpy/cellranger_1.2.0_two_genomes.h5"
    with pytest.raises(ValueError, match="more than one genome"):
        read(source)
    with pytest.raises(CutError, match="2 matrices .*another_genome, hg19_chr21") as e:
        cut(source, tmp_path / "out.h5")
    assert e.value.kind == "bad-input" and "genome" in e.value.hint
