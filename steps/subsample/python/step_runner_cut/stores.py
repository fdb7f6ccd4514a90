"""What differs between HDF5 and Zarr."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import DAMAGED, CutError, need

# Elements of a chunk of a one-dimensional array that is written.
CHUNK = 1 << 18


def is_group(element: Any) -> bool:
    """Whether it has members."""
    return not hasattr(element, "shape")


def is_hdf5(element: Any) -> bool:
    """Whether it lies in an HDF5 file."""
    return hasattr(element, "file")


def open_source(path: str) -> Any:
    """The root group of a file or a Zarr directory."""
    if Path(path).is_dir():
        need("zarr", (3, 0) if (Path(path) / "zarr.json").exists() else (2, 10))
        import zarr

        try:
            return zarr.open_group(path, mode="r")
        except Exception as e:  # Each version of zarr has errors of its own.
            raise CutError(f"it is no Zarr directory: {e}", "give an .h5ad file, a Zarr directory of AnnData, or a 10x .h5 file") from e
    need("h5py", (3, 0))
    import h5py

    if not h5py.is_hdf5(path):
        hint = "give an .h5ad file, a Zarr directory of AnnData, or a 10x .h5 file; a download may have left an error page or an LFS pointer"
        raise CutError("it is no HDF5 file", hint)
    try:
        return h5py.File(path, "r")
    except OSError as e:
        raise CutError(f"it cannot be opened: {e}", DAMAGED) from e


def create_output(path: str, source: Any) -> Any:
    """An empty store of the same kind as source."""
    if is_hdf5(source):
        import h5py

        return h5py.File(path, "w")
    import zarr

    version = getattr(getattr(source, "metadata", None), "zarr_format", None)
    return zarr.open_group(path, mode="w", **({"zarr_format": version} if version else {}))


def size(element: Any) -> int:
    """Bytes that it takes when it is written whole by create: of Zarr those that it
    takes now, since what is written is packed alike; of HDF5 all of them."""
    if not is_hdf5(element):
        return sum(f.stat().st_size for f in _directory(element).rglob("*") if f.is_file())
    if is_group(element):
        return sum(size(element[name]) for name in element)
    count = element.size or 0
    # Texts lie elsewhere in the file, and their places take 16 bytes each.
    return int(count * element.dtype.itemsize + (count * 16 if element.dtype.kind == "O" else 0))


def finish(target: Any, source: str) -> None:
    """Closes the store, and gathers its metadata where the source's are gathered: some
    readers take nothing else."""
    if is_hdf5(target):
        target.close()
        return
    import zarr

    try:
        gathered = json.loads((Path(source) / "zarr.json").read_bytes()).get("consolidated_metadata")
    except OSError:
        gathered = (Path(source) / ".zmetadata").exists()
    if gathered:
        zarr.consolidate_metadata(target.store)


def _directory(element: Any) -> Path:
    if hasattr(element, "store_path"):
        return Path(str(element.store_path).removeprefix("file://"))
    return Path(element.store.path, element.path)


def copy_attrs(source: Any, target: Any) -> None:
    """All attributes. A reference to an object of the source becomes one to the
    object of that name, which must be there already."""
    if not is_hdf5(source):
        target.attrs.update(dict(source.attrs))
        return
    import h5py

    for name in source.attrs:
        value = source.attrs[name]
        if isinstance(value, h5py.Reference):
            _refer(source, target, name, value)
        else:
            identifier = source.attrs.get_id(name)
            target.attrs.create(name, value, shape=identifier.shape, dtype=identifier.dtype)


def _refer(source: Any, target: Any, name: str, reference: Any) -> None:
    import h5py

    if reference:
        target.attrs.create(name, target.file[source.file[reference].name].ref, dtype=h5py.ref_dtype)


def copy(source: Any, parent: Any, name: str) -> None:
    """The element with all that is in it. It must get the path that it has."""
    if is_hdf5(source):
        import h5py

        source.file.copy(source, parent, name=name, expand_soft=True, expand_external=True)

        def refer(path: str, element: Any) -> None:
            # HDF5 leaves references empty when it copies.
            for attr in element.attrs:
                if h5py.check_ref_dtype(element.attrs.get_id(attr).dtype):
                    _refer(element, parent[name][path] if path else parent[name], attr, element.attrs[attr])

        refer("", source)
        if is_group(source):
            source.visititems(refer)
        return
    if is_group(source):
        target = parent.create_group(name)
        target.attrs.update(dict(source.attrs))
        for member in source:
            copy(source[member], target, member)
        return
    target = create(source, parent, name, source.shape, source.chunks)
    target.attrs.update(dict(source.attrs))
    if source.shape == ():
        target[...] = source[...]
    step = max(1, source.chunks[0]) if source.shape else 1
    for at in range(0, source.shape[0] if source.shape else 0, step):
        target[at : at + step] = source[at : at + step]


def create(like: Any, parent: Any, name: str, shape: tuple[int, ...], chunks: tuple[int, ...] | None) -> Any:
    """An array of the type of like. It can grow along its first axis when it has chunks."""
    if is_hdf5(like):
        import h5py

        dtype = h5py.string_dtype(*_string(like)) if h5py.check_string_dtype(like.dtype) else like.dtype
        grows = {"chunks": chunks, "maxshape": (None, *shape[1:])} if chunks else {}
        return parent.create_dataset(name, shape=shape, dtype=dtype, **grows)
    chunks = tuple(max(1, c) for c in chunks or shape)
    if not hasattr(parent, "create_array"):  # zarr 2
        return parent.create_dataset(name, shape=shape, chunks=chunks, dtype=like.dtype, filters=like.filters, compressor=like.compressor)
    # A string type says more in the metadata than as one of numpy's.
    dtype = getattr(like.metadata, "data_type", None) or getattr(like.metadata, "dtype", None) or like.dtype
    return parent.create_array(name, shape=shape, chunks=chunks, dtype=dtype, fill_value=like.fill_value)


def _string(like: Any) -> tuple[str, int | None]:
    import h5py

    info = h5py.check_string_dtype(like.dtype)
    return info.encoding, info.length
