"""What of Zarr is replaced. Its functions that open are given a small copy of a large
AnnData, also when only a part of it is opened. What is read of a large one in another
way is told."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from step_runner_kernel import lazy, shapes

if TYPE_CHECKING:
    from step_runner_kernel.readers import Readers

OPENERS = ("open", "open_group", "open_array", "open_consolidated", "group", "load")
METADATA = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}
# What reads files in zarr 3 and 2, and by which methods.
STORES = {
    "LocalStore": ("get",),
    "FsspecStore": ("get",),
    "DirectoryStore": ("__getitem__",),
    "NestedDirectoryStore": ("__getitem__",),
    "FSStore": ("__getitem__", "getitems"),
}


class ZarrHook:
    def __init__(self, readers: Readers) -> None:
        self.readers = readers
        # Directories that this process has begun anew: what it reads there is its own.
        self._made: set[str] = set()
        # Those that were looked at because something was read in them.
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def arm(self, zarr: ModuleType) -> None:
        originals: dict[Any, Any] = {}
        for module in (zarr, getattr(getattr(zarr, "api", None), "synchronous", None)):
            for name in OPENERS:
                original = getattr(module, name, None)
                if original is not None:
                    wrapped = originals.setdefault(original, self._opener(name, original))
                    setattr(module, name, wrapped)
        lazy.after_import("zarr.storage", self._watch)

    def _opener(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        readers = self.readers

        @functools.wraps(original)
        def opened(store: Any = None, *args: Any, **kwargs: Any) -> Any:
            mode = kwargs.get("mode") or next((a for a in args if isinstance(a, str)), None)
            if name == "load":
                mode = "r"
            elif name == "group":
                mode = "w" if kwargs.get("overwrite") or True in args else None
            path = _path(store)
            if readers.busy or store is None:
                return original(store, *args, **kwargs)
            if mode in ("w", "w-", "x"):
                if path is not None:
                    self._made.add(os.path.realpath(path))
                return original(store, *args, **kwargs)
            if path is None or not os.path.isdir(path):
                return self._other(original, store, args, kwargs)
            with readers.alone():
                # No mode is "a", but mostly meant for reading: what is written then goes
                # into the small copy.
                small = self._small(path, mode in ("r", None))
                return original(small if small is not None else store, *args, **kwargs)

        return opened

    def _other(self, original: Callable[..., Any], store: Any, args: Any, kwargs: Any) -> Any:
        """Opens what is no directory."""
        with self.readers.alone():
            group = original(store, *args, **kwargs)
            if hasattr(group, "attrs"):
                self.readers.look(f"<{type(store).__name__}>", "zarr", shapes.h5_shape(group))
        return group

    def _small(self, path: str, readonly: bool) -> str | None:
        """Where path, which is AnnData or a part of it, is in a small copy of that."""
        root = shapes.zarr_root(os.path.abspath(path))
        if root is None:
            return None
        small = self.readers.smaller(root, "zarr", shapes.zarr_shape(root), readonly)
        if small is None:
            return None
        part = os.path.relpath(os.path.abspath(path), root)
        return small if part == "." else os.path.join(small, part)

    def _watch(self, module: ModuleType) -> None:
        """Looks at each read of a store of files."""
        for name, methods in STORES.items():
            store = getattr(module, name, None)
            for method in methods:
                if store is not None and method in vars(store):
                    setattr(store, method, self._get(getattr(store, method)))

    def _get(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def get(store: Any, keys: Any, *args: Any, **kwargs: Any) -> Any:
            keys = keys if isinstance(keys, str) else list(keys)
            for key in [keys] if isinstance(keys, str) else keys:
                if key.rsplit("/", 1)[-1] not in METADATA:
                    self._read(_directory(store), key)
                    break  # They are of one array.
            return original(store, keys, *args, **kwargs)

        return get

    def _read(self, directory: str | None, key: str) -> None:
        if directory is None:
            return
        root = shapes.zarr_root(os.path.dirname(os.path.join(os.path.abspath(directory), key)))
        if root is None or root in self._seen:
            return
        with self._lock:
            self._seen.add(root)
            if os.path.realpath(root) not in self._made:
                self.readers.read_whole(root, "zarr", shapes.zarr_shape(root))


def _directory(store: Any) -> str | None:
    """That of a store of local files, of either version of zarr."""
    if "file" not in (getattr(getattr(store, "fs", None), "protocol", None) or "file"):
        return None  # It is on a server.
    for attribute in ("root", "path"):
        value = getattr(store, attribute, None)
        if isinstance(value, (str, os.PathLike)):
            return os.fspath(value)
    return None


def _path(store: Any) -> str | None:
    """The local path that is meant by what is to be opened."""
    inner = getattr(store, "store", None)
    if inner is not None and isinstance(getattr(store, "path", None), str):  # A part of a store.
        directory = _path(inner)
        return None if directory is None else os.path.join(directory, store.path)
    if type(store).__name__ in STORES:
        return _directory(store)
    try:
        path = os.fsdecode(os.fspath(store))
    except TypeError:
        return None
    path = path.removeprefix("file://")
    return None if "://" in path else path
