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
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from step_runner_kernel import lazy

VARIABLE = "STEP_RUNNER_SUBSAMPLE"
MOST_READS = 200

Shape = tuple[int, int]


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


class Receipt:
    """What this process has read."""

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, f"reads-{os.getpid()}-{time.time_ns()}.json")
        self.pid = os.getpid()
        self.modules: list[str] = []
        self.reads: list[dict[str, Any]] = []
        self.error = ""

    def read(self, path: str, reader: str, way: str, before: Shape, after: Shape, error: str) -> None:
        entry = {
            "path": path,
            "reader": reader,
            "way": way,
            "before": {"cells": before[0], "genes": before[1]},
            "after": {"cells": after[0], "genes": after[1]},
            "error": error,
        }
        if entry in self.reads:
            return
        # What was read at full size is told however much there is.
        if len(self.reads) < MOST_READS or way == "full" and len(self.reads) < 2 * MOST_READS:
            self.reads.append(entry)
            self.write()

    def write(self) -> None:
        if os.getpid() != self.pid:  # A fork tells of itself in a file of its own.
            self.pid = os.getpid()
            self.path = os.path.join(
                os.path.dirname(self.path), f"reads-{self.pid}-{time.time_ns()}.json"
            )
        content = {"pid": self.pid, "argv": list(getattr(sys, "orig_argv", []))}
        content |= {"modules": self.modules, "reads": self.reads, "error": self.error}
        part = f"{self.path}.{threading.get_ident()}.part"
        with open(part, "w", encoding="utf-8") as f:
            json.dump(content, f)
        os.replace(part, self.path)


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

    def _imported(self, name: str) -> None:
        self.receipt.modules.append(name)
        self.receipt.write()

    def _large(self, shape: Shape) -> bool:
        return shape[0] > self.limits[0] or shape[1] > self.limits[1]

    @property
    def _busy(self) -> bool:
        """Whether it is we who read, in this thread."""
        return bool(getattr(self._state, "busy", False))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        before = self._busy
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
            # h5py itself makes a File of an open one's identifier.
            again = type(name).__module__.startswith("h5py")
            if self._busy or again or mode not in ("r", "r+", "a"):
                original(file, name, mode, *args, **kwargs)
                return
            path = _local(name)
            if path is None or not os.path.isfile(path):
                original(file, name, mode, *args, **kwargs)
                with self._alone():
                    self._look(f"<{type(name).__name__}>", "h5py", _h5_shape(file))
                return
            with self._alone():
                shape = self._peek(path, lambda: original(file, name, "r", *args, **kwargs), file)
            small = self._smaller(path, "h5py", shape, mode == "r")
            original(file, small if small is not None else name, mode, *args, **kwargs)

        h5py.File.__init__ = init

    def _peek(self, path: str, open_it: Callable[[], None], file: Any) -> Shape | None:
        """The shape of the AnnData in the file; what cannot be opened is left to the program."""
        try:
            open_it()
        except Exception:
            return None
        try:
            return _h5_shape(file)
        finally:
            file.close()

    def _zarr(self, zarr: ModuleType) -> None:
        self._imported("zarr")
        for name in ("open", "open_group", "open_consolidated"):
            if hasattr(zarr, name):
                setattr(zarr, name, self._zarr_open(zarr, getattr(zarr, name)))

    def _zarr_open(self, zarr: ModuleType, original: Callable[..., Any]) -> Callable[..., Any]:
        open_group = zarr.open_group

        @functools.wraps(original)
        def opened(store: Any = None, *args: Any, **kwargs: Any) -> Any:
            path = _local(store)
            mode = kwargs.get("mode") or next((a for a in args if isinstance(a, str)), None)
            if self._busy or mode in ("w", "w-", "x") or store is None:
                return original(store, *args, **kwargs)
            if path is None or not os.path.isdir(path):
                with self._alone():
                    group = original(store, *args, **kwargs)
                    self._look(f"<{type(store).__name__}>", "zarr", _zarr_shape(group))
                return group
            with self._alone():
                try:
                    shape = _zarr_shape(open_group(path, mode="r"))
                except Exception:
                    shape = None
            # No mode is "a", but mostly meant for reading: what is written then goes
            # into the small copy.
            small = self._smaller(path, "zarr", shape, mode in ("r", None))
            with self._alone():
                return original(small if small is not None else store, *args, **kwargs)

        return opened

    def _look(self, path: str, reader: str, shape: Shape | None) -> None:
        """Tells of data that cannot be cut."""
        if shape is None:
            return
        way = "full" if self._large(shape) else "small"
        error = "it is not read from a file or directory" if way == "full" else ""
        self.receipt.read(path, reader, way, shape, shape, error)

    def _smaller(self, path: str, reader: str, shape: Shape | None, readonly: bool) -> str | None:
        """The path of a small copy of large data that is only read, else None."""
        if shape is None:
            return None
        real = os.path.realpath(path)
        if real.startswith(os.path.realpath(self.directory) + os.sep):
            return None
        placed = self.placed.get(real)
        if placed is not None and (placed["cells"], placed["genes"]) == shape:
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
            if self._busy or shape is None or not self._large(shape):
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
            with self._alone(), tempfile.TemporaryDirectory(dir=self.directory) as spool:
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


def _h5_shape(file: Any) -> Shape | None:
    """The shape of the AnnData or 10x matrix in an open file, None when there is none.
    AnnData whose shape cannot be told counts as large: it must not pass for small."""
    try:
        if "obs" in file and "var" in file:
            return _length(file["obs"]), _length(file["var"])
        if "matrix" in file and "shape" in file["matrix"]:
            genes, cells = (int(n) for n in file["matrix"]["shape"][:2])
            return cells, genes
        for group in file.values():  # 10x of before version 3: a group for each genome.
            if "barcodes" in group and "genes" in group:
                return int(group["barcodes"].shape[0]), int(group["genes"].shape[0])
    except Exception:
        if file.attrs.get("encoding-type") == "anndata":
            return sys.maxsize, sys.maxsize
    return None


_zarr_shape = _h5_shape


def _length(frame: Any) -> int:
    if not hasattr(frame, "keys"):  # AnnData of before 0.7: a table.
        return int(frame.shape[0])
    index = frame[frame.attrs.get("_index", "_index")]
    if hasattr(index, "keys"):  # Texts that may be missing, pandas's own since version 3.
        index = index["values"]
    return int(index.shape[0])
