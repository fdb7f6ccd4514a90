"""Calls a function once a module has been imported, and never imports it itself."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Callback = Callable[[ModuleType], None]


class _Finder(MetaPathFinder):
    def __init__(self) -> None:
        self.callbacks: dict[str, Callback] = {}
        self._asking = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        asking: set[str] = self._asking.__dict__.setdefault("names", set())
        if fullname not in self.callbacks or fullname in asking:
            return None
        asking.add(fullname)
        try:
            spec = _ask_the_others(self, fullname, path, target)
        finally:
            asking.discard(fullname)
        if spec is None or spec.loader is None:
            return None
        spec.loader = _Loader(spec.loader, self.callbacks[fullname])
        return spec


def _ask_the_others(
    me: MetaPathFinder, name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if finder is me or find is None:
            continue
        spec: ModuleSpec | None = find(name, path, target)
        if spec is not None:
            return spec
    return None


class _Loader(Loader):
    """Loads as the real loader does, then calls back."""

    def __init__(self, real: Loader, callback: Callback) -> None:
        self._real = real
        self._callback = callback

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The module is to see its own loader: importlib.resources and pickling ask for it.
        module.__loader__ = self._real
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        self._real.exec_module(module)
        self._callback(module)


_finder = _Finder()


def after_import(name: str, callback: Callback) -> None:
    """Calls callback with module `name` right after it has been imported, at once
    when it is there already. What callback raises is raised by the import."""
    if name in sys.modules:
        callback(sys.modules[name])
        return
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.callbacks[name] = callback
