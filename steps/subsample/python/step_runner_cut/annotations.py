"""Reads the columns of obs and var that decide what is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import stores
from .cutting import encoding
from .errors import DAMAGED, CutError
from .sampling import Ints


def texts(values: NDArray[Any]) -> list[str]:
    """Names as text, whatever they were stored as."""
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.tolist()]


class Annotation:
    """obs or var: a group of columns, or in old files one array of records."""

    def __init__(self, element: Any, uns: Any = None) -> None:
        # Of a table of records the categories lie in uns.
        self.element, self.uns = element, uns
        self.group = stores.is_group(element)
        if not self.group and (element.dtype.names is None or element.ndim != 1):
            raise CutError(f"{element.name}: it is no table", DAMAGED)
        if self.group and encoding(element) != "dataframe":
            raise CutError(f"{element.name}: encoding {encoding(element)!r} is not supported")
        self.index = _text(element.attrs["_index"]) if self.group else element.dtype.names[0]
        if self.group and self.index not in element:
            raise CutError(f"{element.name}: it has no column {self.index}", DAMAGED)

    def __len__(self) -> int:
        column = self.element[self.index] if self.group else self.element
        if stores.is_group(column):  # Nullable strings.
            column = column["values"]
        return int(column.shape[0])

    def columns(self) -> list[str]:
        """Their names, without the index."""
        names = list(self.element) if self.group else list(self.element.dtype.names)
        return [n for n in names if n not in (self.index, "__categories")]

    def names(self) -> list[list[str]]:
        """The index, and feature_name when there is one."""
        found = [self._all(self.index)]
        return found + [self._all("feature_name")] if "feature_name" in self.columns() else found

    def _all(self, column: str) -> list[str]:
        values, codes = self.coded(column)
        return [values[c] if c >= 0 else "" for c in codes.tolist()]

    def categorical(self) -> list[str]:
        """The columns that are categorical in the file."""
        return [c for c in self.columns() if self._old_categories(c) or self.group and encoding(self.element[c]) == "categorical"]

    def _old_categories(self, column: str) -> list[str]:
        name = f"{column}_categories"
        if self.group or self.uns is None or name not in self.uns or self.element.dtype[column].kind not in "iu":
            return []
        return texts(np.asarray(self.uns[name][:]))

    def coded(self, column: str) -> tuple[list[str], Ints]:
        """The values of a column, and for each row which one it has, -1 for none."""
        # A field of records; zarr 3 mistakes the types of single ones.
        element = self.element[column] if self.group or stores.is_hdf5(self.element) else self.element[:][column]
        if isinstance(element, np.ndarray):
            values: NDArray[Any] = element
            if categories := self._old_categories(column):
                return categories, values.astype(np.int64)
        elif not stores.is_group(element):
            values = element[:]
            if "categories" in element.attrs and stores.is_hdf5(element):
                categories = element.file[element.attrs["categories"]]
                return texts(categories[:]), np.asarray(values).astype(np.int64)
        elif encoding(element) == "categorical":
            categories = element["categories"]
            categories = categories["values"] if stores.is_group(categories) else categories
            codes = np.asarray(element["codes"][:]).astype(np.int64)
            return texts(np.asarray(categories[:])), codes
        elif "values" in element:
            values = element["values"][:]
        else:
            raise CutError(f"{element.name}: encoding {encoding(element)!r} is not supported")
        distinct, codes = np.unique(np.asarray(texts(np.asarray(values)), dtype=object), return_inverse=True)
        if stores.is_group(element) and "mask" in element:
            codes = np.where(element["mask"][:], -1, codes)
        return [str(d) for d in distinct], codes.astype(np.int64)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
