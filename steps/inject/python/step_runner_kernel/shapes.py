"""How many cells and genes there are in a file or a directory, without reading them."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

Shape = tuple[int, int]

# The shape of AnnData that cannot be told: it must not pass for small.
UNKNOWN: Shape = (sys.maxsize, sys.maxsize)

# How many members of a file are looked into for AnnData of their own.
MOST_MEMBERS = 100


def h5_shape(file: Any) -> Shape | None:
    """The shape of the AnnData or 10x matrix in an open file or store, None when there
    is none."""
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
            return UNKNOWN
    return None


def h5_members(file: Any) -> list[tuple[str, Shape]]:
    """The shapes of the AnnData that are not at the top of an open file."""
    found = []
    for name in list(file)[:MOST_MEMBERS]:
        try:
            member = file[name]
            if "obs" in member and "var" in member:
                found.append((name, h5_shape(member) or UNKNOWN))
        except Exception:  # A link that leads nowhere, an array of numbers.
            continue
    return found


def _length(frame: Any) -> int:
    if not hasattr(frame, "keys"):  # AnnData of before 0.7: a table.
        return int(frame.shape[0])
    index = frame[frame.attrs.get("_index", "_index")]
    if hasattr(index, "keys"):  # Texts that may be missing, pandas's own since version 3.
        index = index["values"]
    return int(index.shape[0])


def zarr_root(path: str) -> str | None:
    """The directory of the AnnData that path is, or is a part of."""
    while True:
        if os.path.isdir(os.path.join(path, "obs")) and os.path.isdir(os.path.join(path, "var")):
            return path
        parent = os.path.dirname(path)
        if parent == path:
            return None
        path = parent


def zarr_shape(root: str) -> Shape | None:
    """The shape of the AnnData in a Zarr directory, by its metadata. It needs no zarr,
    which cannot be called from where it reads."""
    try:
        return _zarr_length(os.path.join(root, "obs")), _zarr_length(os.path.join(root, "var"))
    except Exception:
        return UNKNOWN if _zarr_attributes(root).get("encoding-type") == "anndata" else None


def _zarr_length(frame: str) -> int:
    shape = _zarr_array(frame)
    if shape is None:
        index = os.path.join(frame, _zarr_attributes(frame).get("_index", "_index"))
        shape = _zarr_array(index) or _zarr_array(os.path.join(index, "values"))
    if shape is None:
        raise ValueError(f"{frame} has no index")
    return int(shape[0])


def _zarr_array(path: str) -> list[int] | None:
    for name in ("zarr.json", ".zarray"):
        content = _json(os.path.join(path, name))
        if "shape" in content:
            shape: list[int] = content["shape"]
            return shape
    return None


def _zarr_attributes(path: str) -> dict[str, Any]:
    attributes: dict[str, Any] = _json(os.path.join(path, "zarr.json")).get("attributes") or _json(
        os.path.join(path, ".zattrs")
    )
    return attributes


def _json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as f:
            content: dict[str, Any] = json.load(f)
    except (OSError, ValueError):
        return {}
    return content
