"""What cannot be read has a class and a reason, and nothing else of it is told."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
import zarr
from step_runner_cut import main
from step_runner_cut.errors import CutError

from helpers import cut, make, request


def edit(tmp_path, change, **write):
    path = tmp_path / "in.h5ad"
    make(200, 60).write_h5ad(path, **write)
    with h5py.File(path, "a") as f:
        change(f)
    return path


def out_of_range(f):
    f["X/indices"][:] = 60


def short_indptr(f):
    del f["X/indptr"]
    f["X/indptr"] = np.zeros(5, np.int64)


def unknown(f):
    f["obsm/X_pca"].attrs["encoding-type"] = "array"
    f.create_group("obsm/new").attrs["encoding-type"] = "from-the-future"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (out_of_range, "X: an index is not below 60"),
        (short_indptr, "X: indptr does not fit 200 rows"),
        (unknown, "obsm/new: encoding 'from-the-future' is not supported"),
        (lambda f: f.pop("obs") and None, "no obs and var"),
        (lambda f: f["X"].attrs.__setitem__("shape", np.array([9, 60])), r"X: its shape \(9, 60\)"),
        (lambda f: f["obs"].attrs.__setitem__("_index", "gone"), "no column gone"),
        (lambda f: f["X"].pop("data") and None, "has no"),
    ],
)
def test_refused(tmp_path, change, text):
    with pytest.raises(CutError, match=text) as e:
        cut(edit(tmp_path, change), tmp_path / "out.h5ad")
    assert e.value.kind == "bad-input"


def test_damaged_chunk(tmp_path):
    path = edit(tmp_path, lambda f: None, compression="gzip")
    with h5py.File(path) as f:
        chunk = f["X/data"].id.get_chunk_info(0)
    with path.open("r+b") as f:
        f.seek(chunk.byte_offset + 10)
        f.write(b"\xff" * 40)
    with pytest.raises(Exception) as e:
        cut(path, tmp_path / "out.h5ad")
    assert main.classify(e.value).kind == "bad-input"


def test_no_zarr_of_anndata(tmp_path):
    zarr.open_group(tmp_path / "in.zarr", mode="w").create_group("images")
    with pytest.raises(CutError, match="no AnnData"):
        cut(tmp_path / "in.zarr", tmp_path / "out.zarr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CutError, match="no Zarr directory"):
        cut(tmp_path / "empty", tmp_path / "out.zarr")


def test_no_such_column(tmp_path):
    with pytest.raises(CutError, match="no column 'x'") as e:
        cut(edit(tmp_path, lambda f: None), tmp_path / "out.h5ad", stratify_by="x")
    assert "donor" in e.value.hint


def test_left_out(tmp_path):
    m = cut(edit(tmp_path, lambda f: f.create_group("mine")), tmp_path / "out.h5ad")
    assert m["left_out"] == ["mine"]


@pytest.mark.parametrize(("library", "version"), [("numpy", "1.20.3"), ("h5py", "2.10.0"), ("zarr", "2.9.5"), ("zarr", "2.18.7")])
def test_too_old(tmp_path, monkeypatch, library, version):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version if name == library else real(name))
    source = tmp_path / "in.zarr"
    if library == "zarr":
        source.mkdir()
        (source / ("zarr.json" if version.startswith("2.18") else ".zgroup")).write_text("{}")
    else:
        source = edit(tmp_path, lambda f: None)
    with pytest.raises(CutError, match=f"has {library} {version}") as e:
        main.preflight()
        cut(source, tmp_path / "out.h5ad")
    assert e.value.kind == "missing-tool" and f"install {library}" in e.value.hint


def test_python_too_old(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    with pytest.raises(CutError, match="3.10 is needed") as e:
        main.preflight()
    assert e.value.kind == "missing-tool"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left on device"), "disk-full"),
        (RuntimeError("Unable to flush: errno = 28, error message = 'No space left on device'"), "disk-full"),
        (MemoryError(), "out-of-memory"),
        (ModuleNotFoundError("No module named 'h5py'"), "missing-tool"),
        (OSError("Can't read data"), "bad-input"),
        (ValueError("ours"), "internal"),
    ],
)
def test_classes(error, kind):
    assert main.classify(error).kind == kind


def run(path, *, code="", **options):
    """The program as step-runner runs it."""
    Path(path.parent / "request.json").write_text(json.dumps(request(path, path.parent / "out.h5ad", **options)))
    program = Path(main.__file__).parents[1]
    argv = [sys.executable, "-B", "-c", f"{code}\nimport sys, runpy; sys.argv = ['', {str(path.parent / 'request.json')!r}]; sys.path.insert(0, {str(program)!r}); runpy.run_path({str(program)!r}, run_name='__main__')"]
    done = subprocess.run(argv, capture_output=True, text=True, env=os.environ)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_program(tmp_path):
    path = edit(tmp_path, lambda f: None)
    # What a library prints is no line of ours.
    code, lines, err = run(path, code="import os; os.register_at_fork")
    assert code == 0 and lines[-1]["result"]["way"] == "cut", err
    assert ad.read_h5ad(tmp_path / "out.h5ad").shape == (50, 20)


def test_program_without_h5py(tmp_path):
    path = edit(tmp_path, lambda f: None)
    code, lines, _ = run(path, code="import sys; sys.modules['h5py'] = None")
    assert code == 1 and lines[-1]["failure"]["kind"] == "missing-tool"
    assert "h5py" in lines[-1]["failure"]["message"]


def test_program_needs_no_anndata(tmp_path):
    path = edit(tmp_path, lambda f: None)
    code, lines, err = run(path, code="import sys; sys.modules['anndata'] = sys.modules['zarr'] = sys.modules['scipy'] = sys.modules['pandas'] = None")
    assert code == 0, err
