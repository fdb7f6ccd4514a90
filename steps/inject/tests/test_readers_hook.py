"""The readers hook in real Python processes, on the real libraries: every way to read
AnnData is given a small copy, or is told to have read all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("anndata")
pytest.importorskip("dask")
pytest.importorskip("zarr", minversion="3")

HERE = Path(__file__).parent
CUTTER = HERE.parent.parent / "subsample" / "python"

PREAMBLE = """
import json, os, shutil, sys, warnings
warnings.simplefilter("ignore")
import anndata as ad, dask.array as da, h5py, zarr
from anndata.experimental import read_elem_lazy
from pathlib import Path
from zarr.storage import LocalStore, StorePath, ZipStore
h5, za = "x.h5ad", "x.zarr"
"""

MAKE = """
import numpy as np, pandas as pd, scipy.sparse as sp
rng = np.random.default_rng(0)
X = sp.csr_matrix((rng.random((300, 80)) < 0.5) * rng.integers(1, 9, (300, 80)).astype("f4"))
a = ad.AnnData(X, obs=pd.DataFrame(index=[f"c{i}" for i in range(300)]),
               var=pd.DataFrame(index=[f"G{i}" for i in range(80)]), layers={"d": X.toarray()})
"""

# Expressions that read h5 or za, and the shape that they must see.
SMALL = [50, 20]
CUT = {
    "read_elem_lazy(h5py.File(h5)['X'], (25, 20)).compute().shape": SMALL,
    "h5py.File(h5.encode(), 'r')['layers/d'].shape": SMALL,
    "h5py.File(name=h5, mode='r', driver='core')['layers/d'][:].shape": SMALL,
    "h5py.File(Path(h5).absolute())['layers/d'].shape": SMALL,
    "ad.read_h5ad(h5, backed='r').shape": SMALL,
    "ad.io.read_elem(zarr.open(za)).shape": SMALL,
    "read_elem_lazy(zarr.open(za, mode='r')['X'], (25, 20)).compute().shape": SMALL,
    "zarr.open(store=za)['layers/d'][:].shape": SMALL,
    "zarr.open(za, path='layers')['d'].shape": SMALL,
    "zarr.open(za + '/layers/d', mode='r').shape": SMALL,
    "zarr.open(Path(za, 'layers').absolute())['d'].shape": SMALL,
    "zarr.open_array(za, path='layers/d', mode='r')[:].shape": SMALL,
    "zarr.open_array(za + '/layers/d').shape": SMALL,
    "zarr.open_group(za + '/layers', mode='r')['d'].shape": SMALL,
    "zarr.open_consolidated(za)['layers/d'].shape": SMALL,
    "zarr.group(za)['layers/d'].shape": SMALL,
    "zarr.load(za, path='layers/d').shape": SMALL,
    "zarr.open(LocalStore(za), mode='r')['layers/d'].shape": SMALL,
    "zarr.open(StorePath(LocalStore('.'), za), mode='r')['layers/d'].shape": SMALL,
    "zarr.open('file://' + os.path.abspath(za), mode='r')['layers/d'].shape": SMALL,
    "zarr.api.synchronous.open(za)['layers/d'].shape": SMALL,
    "da.from_zarr(za + '/layers/d').shape": SMALL,
    "da.from_zarr(za, component='layers/d').compute().shape": SMALL,
    "ad.read_zarr(za).shape": SMALL,
    "ad.read_zarr(Path(za)).shape": SMALL,
    "ad.read_zarr(zarr.open_group(za)).shape": SMALL,
}

# Statements that read all of it. Each has data of its own.
FULL = {
    "for writing": "h5py.File(h5, 'r+')",
    "an open file": "h5py.File(open(h5, 'rb'), 'r')",
    "HDF5's own open": "h5py.File(h5py.h5f.open(h5.encode()))['layers/d'][:]",
    "not at the top": "f = h5py.File('in.h5', 'w'); f['rna'] = h5py.ExternalLink(h5, '/'); f.close(); h5py.File('in.h5')['rna/layers/d'][:]",
    "Zarr for writing": "zarr.open(za, mode='r+')",
    "zipped": "shutil.make_archive('x', 'zip', za); ad.read_zarr(ZipStore('x.zip', mode='r'))",
    "asynchronous": """
import asyncio
async def read():
    d = await (await zarr.api.asynchronous.open(store=za, mode="r")).getitem("layers/d")
    return await d.getitem(slice(None))
asyncio.run(read())
""",
}

# Statements that read nothing large.
QUIET = {
    "what it writes": "a.write_zarr('own.zarr'); a.write_h5ad('own.h5ad')",
    "what it changes of it": "g = zarr.open_group('p.zarr', mode='w'); ad.io.write_elem(g, '/', a); g['layers/d'][3:7, 2] = 1",
    "a small part of it": "a[:50, :20].copy().write_zarr('s.zarr'); assert ad.read_zarr('s.zarr').shape == (50, 20)",
    "in memory": "ad.io.write_elem(zarr.open_group(zarr.storage.MemoryStore(), mode='w'), 'a', a)",
    "other arrays": "z = zarr.open('n.zarr', mode='w', shape=(900, 900), chunks=(90, 90)); z[:5] = 1; assert zarr.open('n.zarr')[0, 0] == 1",
    "other HDF5": "f = h5py.File('n.h5', 'w'); f['g/x'] = [1]; f.close(); assert h5py.File('n.h5')['g/x'][0] == 1",
}


class Process:
    """A Python process with the hook, in a directory of its own."""

    def __init__(self, directory: Path, zarr_format: int = 2) -> None:
        self.dir = directory
        directory.mkdir(parents=True)
        self.python(f"{PREAMBLE}{MAKE}ad.settings.zarr_write_format = {zarr_format}; a.write_h5ad(h5); a.write_zarr(za); zarr.consolidate_metadata(za)")
        self.hook = directory / "hook"
        self.hook.mkdir()
        request = {"mode": "cut", "max_cells": 50, "max_genes": 20, "seed": 0, "stratify_by": "", "method": "uniform", "prune_categories": False, "named": []}
        (self.hook / "wish.json").write_text(json.dumps({"request": request, "program": str(CUTTER), "placed": {}, "directory": str(self.hook)}))

    def python(self, code: str, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.dir, env={**os.environ, "PYTHONPATH": "", **env},
            capture_output=True, text=True, timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def hooked(self, code: str) -> str:
        return self.python(PREAMBLE + code, PYTHONPATH=str(HERE.parent / "python"), STEP_RUNNER_SUBSAMPLE=str(self.hook / "wish.json"))

    def reads(self) -> list[dict[str, Any]]:
        return [r for p in self.hook.glob("reads-*.json") for r in json.loads(p.read_text())["reads"]]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_cut(tmp_path: Path, zarr_format: int) -> None:
    process = Process(tmp_path / "data", zarr_format)
    before = {p: p.read_bytes() for p in process.dir.rglob("*") if p.is_file()}
    expressions = {e: want for e, want in CUT.items() if zarr_format == 2 or "h5" not in e}
    out = process.hooked(f"""
got = {{}}
for e in json.loads({json.dumps(list(expressions))!r}):
    try:
        got[e] = list(eval(e))
    except Exception as x:
        got[e] = repr(x)
print(json.dumps(got))
""")
    assert json.loads(out) == expressions
    assert {r["way"] for r in process.reads()} == {"cut"}
    assert {p: p.read_bytes() for p in before} == before, "the data is left alone"


def test_full(tmp_path: Path) -> None:
    process = Process(tmp_path / "data")
    for i in range(len(FULL)):
        (tmp_path / "data" / str(i)).mkdir()
        for name in ("x.h5ad", "x.zarr"):
            process.python(f"import os, shutil; (shutil.copytree if os.path.isdir('{name}') else shutil.copy)('{name}', '{i}/{name}')")
    process.hooked(f"""
for i, code in enumerate(json.loads({json.dumps(list(FULL.values()))!r})):
    os.chdir(str(i))
    exec(code, globals())
    with open("done", "w"): pass
    os.chdir("..")
    receipt = [json.loads(p.read_text()) for p in Path("hook").glob("reads-*.json")]
    Path(str(i), "reads").write_text(json.dumps(receipt[0]["reads"]))
""")
    seen = 0
    for i, name in enumerate(FULL):
        reads = json.loads((tmp_path / "data" / str(i) / "reads").read_text())
        new, seen = reads[seen:], len(reads)
        assert [(r["way"], r["after"]) for r in new] == [("full", {"cells": 300, "genes": 80})], name
        assert new[0]["error"], name


def test_made_of_no_file(tmp_path: Path) -> None:
    process = Process(tmp_path / "data")
    # It stands in for the library, which makes AnnData of a database.
    (process.dir / "cellxgene_census.py").write_text(f"import anndata as ad\ndef get_anndata():\n{MAKE.replace(chr(10), chr(10) + ' ')}\n return a\n")
    out = process.hooked("sys.path.insert(0, '.')\nimport cellxgene_census\nprint(cellxgene_census.get_anndata().shape)")
    assert out.strip() == "(50, 20)"
    assert [r["way"] for r in process.reads()] == ["cut"]


def test_quiet(tmp_path: Path) -> None:
    process = Process(tmp_path / "data")
    process.hooked(MAKE + "\n".join(QUIET.values()))
    assert {r["way"] for r in process.reads()} <= {"small"}
    # Read again, it is data as any other.
    out = process.hooked("print(ad.read_zarr('own.zarr').shape, ad.read_h5ad('own.h5ad').shape)")
    assert out.strip() == "(50, 20) (50, 20)"
