"""Keeps a program's data small: large AnnData that it opens is cut first, by the
same program that cuts data before a run.

Whatever reads .h5ad or 10x .h5 opens an h5py.File in the end, and whatever reads Zarr
calls zarr.open: that is where the path of a large data set is replaced by that of a
small copy. What readers make of other formats is written, cut and read again.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from step_runner_kernel import lazy, shapes
from step_runner_kernel.reads import Receipt
from step_runner_kernel.shapes import Shape
from step_runner_kernel.zarr_hook import ZarrHook

VARIABLE = "STEP_RUNNER_SUBSAMPLE"


def arm(path: str) -> None:
    """Makes the wish in the file path hold in this process."""
    try:
        with open(path, encoding="utf-8") as f:
            wish = json.load(f)
        Readers(wish).arm()
    except Exception as e:
        receipt = Receipt(os.path.dirname(path))
        receipt.error = f"{path}: {e!r}"
        receipt.write()


class Readers:
    """The wish is what the runner has written; see readers.go."""

    def __init__(self, wish: dict[str, Any]) -> None:
        self.request: dict[str, Any] = wish["request"]
        self.limits: Shape = (self.request["max_cells"], self.request["max_genes"])
        self.program: str = wish["program"]
        self.directory: str = wish["directory"]
        self.placed: dict[str, dict[str, Any]] = wish["placed"] or {}
        self.receipt = Receipt(wish["directory"])
        self._state = threading.local()

    def arm(self) -> None:
        """Waits for imports; imports nothing."""
        lazy.after_import("h5py", self._h5py)
        lazy.after_import("zarr", self._zarr)
        for name in ("anndata", "anndata.io", "scanpy", "squidpy.read"):
            lazy.after_import(name, self._module("read"))
        for name in ("scanpy.datasets", "squidpy.datasets"):
            lazy.after_import(name, self._module(""))
        lazy.after_import("cellxgene_census", self._module("get_anndata"))

    def _imported(self, name: str) -> None:
        self.receipt.modules.append(name)
        self.receipt.write()

    def _large(self, shape: Shape) -> bool:
        return shape[0] > self.limits[0] or shape[1] > self.limits[1]

    @property
    def busy(self) -> bool:
        """Whether it is we who read, in this thread."""
        return bool(getattr(self._state, "busy", False))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        before = self.busy
        self._state.busy = True
        try:
            yield
        finally:
            self._state.busy = before

    def _h5py(self, h5py: ModuleType) -> None:
        self._imported("h5py")
        original = h5py.File.__init__

        @functools.wraps(original)
        def init(file: Any, name: Any, mode: str = "r", *args: Any, **kwargs: Any) -> None:
            def open_it(name: Any, mode: str) -> None:
                with self.alone():
                    original(file, name, mode, *args, **kwargs)

            # h5py itself makes a File of an open one's identifier.
            again = type(name).__module__.startswith("h5py")
            if self.busy or again or mode not in ("r", "r+", "a"):
                open_it(name, mode)
                return
            path = _local(name)
            if path is None or not os.path.isfile(path):
                open_it(name, mode)
                self.look(f"<{type(name).__name__}>", "h5py", shapes.h5_shape(file))
                return
            shape = self._peek(path, lambda: open_it(name, "r"), file)
            small = self.smaller(path, "h5py", shape, mode == "r")
            open_it(small if small is not None else name, mode)

        h5py.File.__init__ = init
        h5f_open = h5py.h5f.open

        @functools.wraps(h5f_open)
        def opened(name: Any, *args: Any, **kwargs: Any) -> Any:
            identifier = h5f_open(name, *args, **kwargs)
            if not self.busy and isinstance(name, (str, bytes)):
                with self.alone():
                    path = os.path.realpath(os.fsdecode(name))
                    self.read_whole(path, "h5py", shapes.h5_shape(h5py.File(identifier)))
            return identifier

        h5py.h5f.open = opened

    def _peek(self, path: str, open_it: Callable[[], None], file: Any) -> Shape | None:
        """The shape of the AnnData in the file; what cannot be opened is left to the program."""
        try:
            open_it()
        except Exception:
            return None
        try:
            shape = shapes.h5_shape(file)
            if shape is None:
                for name, member in shapes.h5_members(file):
                    self.read_whole(f"{path}/{name}", "h5py", member)
            return shape
        finally:
            file.close()

    def _zarr(self, zarr: ModuleType) -> None:
        self._imported("zarr")
        ZarrHook(self).arm(zarr)

    def look(self, path: str, reader: str, shape: Shape | None) -> None:
        """Tells of data that cannot be cut."""
        if shape is None:
            return
        way = "full" if self._large(shape) else "small"
        error = "it is not read from a file or directory" if way == "full" else ""
        self.receipt.read(path, reader, way, shape, shape, error)

    def read_whole(self, path: str, reader: str, shape: Shape | None) -> None:
        """Tells of large data that is read in a way in which none is cut."""
        if shape is not None and self._large(shape) and not self._ours(path, shape):
            error = "it is read in a way in which it is not cut"
            self.receipt.read(path, reader, "full", shape, shape, error)

    def _ours(self, path: str, shape: Shape) -> bool:
        """Whether the data is as small as it gets."""
        real = os.path.realpath(path)
        if real.startswith(os.path.realpath(self.directory) + os.sep):
            return True
        placed = self.placed.get(real)
        return placed is not None and (placed["cells"], placed["genes"]) == shape

    def smaller(self, path: str, reader: str, shape: Shape | None, readonly: bool) -> str | None:
        """The path of a small copy of large data that is only read, else None."""
        if shape is None:
            return None
        real = os.path.realpath(path)
        if self._ours(path, shape):
            placed = self.placed.get(real)
            if placed is not None:
                before = (placed["before_cells"], placed["before_genes"])
                self.receipt.read(path, reader, "placed", before, shape, "")
            return None
        if not self._large(shape):
            self.receipt.read(path, reader, "small", shape, shape, "")
            return None
        if not readonly:
            self.receipt.read(path, reader, "full", shape, shape, "it is opened for writing, too")
            return None
        self._state.cut = True
        try:
            small, after = self._cut(real)
        except Exception as e:
            self.receipt.read(path, reader, "full", shape, shape, f"it could not be cut: {e}")
            # Large data that was to be cut must not be read at full size.
            raise RuntimeError(f"step-runner: {path} could not be cut for the lite variant: {e}") from e
        self.receipt.read(path, reader, "cut", shape, after, "")
        return small

    def _cut(self, path: str) -> tuple[str, Shape]:
        """Cuts once for as long as the data is the same, whoever of our processes asks."""
        info = os.stat(path)
        key = f"{path}\0{info.st_ino}\0{info.st_size}\0{info.st_mtime_ns}"
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        # The source's own ending: readers go by it.
        out = os.path.join(self.directory, "cut-" + name, os.path.basename(path.rstrip("/")))
        os.makedirs(os.path.dirname(out), exist_ok=True)
        told = os.path.join(os.path.dirname(out), ".result.json")
        with open(os.path.join(os.path.dirname(out), ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(told):
                result = self._run(path, out)
                with open(told, "w", encoding="utf-8") as f:
                    json.dump(result["after"], f)
            with open(told, encoding="utf-8") as f:
                after = json.load(f)
        return out, (after["cells"], after["genes"])

    def _run(self, path: str, out: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=os.path.dirname(out)) as spool:
            part = os.path.join(spool, "out")
            asked = os.path.join(spool, "request.json")
            with open(asked, "w", encoding="utf-8") as f:
                json.dump({**self.request, "in": path, "out": part, "spool": spool}, f)
            env = {k: v for k, v in os.environ.items() if k != VARIABLE}
            done = subprocess.run(
                [sys.executable, "-B", self.program, asked],
                env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            result: dict[str, Any] | None = None
            for line in done.stdout.splitlines():
                reply = json.loads(line)
                if reply.get("failure"):
                    raise RuntimeError(reply["failure"]["message"])
                result = reply.get("result") or result
            if done.returncode != 0 or result is None or not os.path.exists(part):
                words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
                raise RuntimeError(f"the cutting program ended with {done.returncode}: {' '.join(words)}")
            os.rename(part, out)
            return result

    def _module(self, prefix: str) -> Callable[[ModuleType], None]:
        """Watches the functions of a module that read data of any format."""

        def imported(module: ModuleType) -> None:
            self._imported(module.__name__)
            for name, value in list(vars(module).items()):
                if name.startswith(prefix) and not name.startswith("_") and _is_function(value):
                    setattr(module, name, self._reader(f"{module.__name__}.{name}", value))

        return imported

    def _reader(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def reader(*args: Any, **kwargs: Any) -> Any:
            data = original(*args, **kwargs)
            shape = _anndata_shape(data)
            if self.busy or shape is None or not self._large(shape):
                return data
            source = str(args[0]) if args else name
            if getattr(data, "isbacked", False) or type(data).__name__ != "AnnData":
                return data  # Its file has been looked at when it was opened.
            return self._again(data, source, name, shape)

        return reader

    def _again(self, data: Any, source: str, name: str, shape: Shape) -> Any:
        """The data, cut, of a reader that does not go through HDF5 or Zarr."""
        after = {"cells": shape[0], "genes": shape[1]}
        if any(r["after"] == after for r in self.receipt.reads):
            return data  # It has been told where its file was opened.
        anndata = sys.modules["anndata"]
        try:
            with self.alone(), tempfile.TemporaryDirectory(dir=self.directory) as spool:
                whole = os.path.join(spool, "data.h5ad")
                with _any_text(anndata):
                    data.write_h5ad(whole)
                small = os.path.join(spool, "small.h5ad")
                self._run(whole, small)
                cut = anndata.read_h5ad(small)
        except Exception as e:
            self.receipt.read(source, name, "full", shape, shape, f"it could not be cut: {e}")
            raise RuntimeError(f"step-runner: {source} could not be cut for the lite variant: {e}") from e
        self.receipt.read(source, name, "cut", shape, cut.shape, "")
        return cut


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, (type, ModuleType))


def _local(name: Any) -> str | None:
    try:
        path = os.fspath(name)
    except TypeError:
        return None
    path = os.fsdecode(path)
    return None if "://" in path else path


def _anndata_shape(data: Any) -> Shape | None:
    try:
        return int(data.n_obs), int(data.n_vars)
    except Exception:
        return None


def _any_text(anndata: ModuleType) -> contextlib.AbstractContextManager[None]:
    """Lets anndata write texts that may be missing, which all are with pandas 3. Where
    it knows no such setting it needs none."""
    settings = getattr(anndata, "settings", None)
    if not hasattr(settings, "allow_write_nullable_strings"):
        return contextlib.nullcontext()
    allowed: contextlib.AbstractContextManager[None] = settings.override(
        allow_write_nullable_strings=True
    )
    return allowed
