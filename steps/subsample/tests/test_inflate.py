"""Both ways to unpack a chunk: by libdeflate and by Python's own zlib."""

import zlib

import numpy as np
import pytest
from step_runner_cut import inflate
from step_runner_cut.sparse import narrow


@pytest.fixture(params=["libdeflate", "zlib"], autouse=True)
def way(request, monkeypatch):
    if request.param == "zlib":
        monkeypatch.setattr(inflate, "_decompressor", None)
    elif inflate.library is None:
        pytest.skip("this machine has no libdeflate")


def test_into():
    values = np.arange(100_000, dtype=np.int32)
    target = np.zeros_like(values)
    inflate.into(zlib.compress(values.tobytes()), target)
    assert np.array_equal(target, values)


@pytest.mark.parametrize("damage", ["short", "long", "cut", "checksum", "bits", "empty"])
def test_damaged(damage):
    values = np.arange(1000, dtype=np.float32)
    packed = bytearray(zlib.compress(values.tobytes()))
    target = np.zeros(1000 + {"short": 1, "long": -1}.get(damage, 0), np.float32)
    if damage == "cut":
        packed = packed[:-20]
    elif damage == "checksum":
        packed[-1] ^= 1
    elif damage == "bits":
        packed[20:40] = bytes(20)
    elif damage == "empty":
        packed = bytearray()
    with pytest.raises(zlib.error):
        inflate.into(bytes(packed), target)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([0, 255], np.float32), np.uint8),
        (np.array([0, 256], np.float64), np.uint16),
        (np.array([-0.0], np.float32), np.float32),
        (np.array([np.nan, np.inf]), np.float64),
        (np.array([1e30], np.float32), np.float32),
        (np.array([0.5], np.float32), np.float32),
        (np.array([-1], np.int32), np.int32),
        (np.array([65536], np.int64), np.int64),
        (np.array([7], np.uint8), np.uint8),
        (np.array([7], ">f4"), np.dtype(">f4")),
        (np.array([7], np.longdouble), np.longdouble),
        (np.array([], np.int32), np.uint8),
    ],
)
def test_narrow(values, kind):
    got = narrow(values)
    assert got.dtype == kind
    assert got.astype(values.dtype).tobytes() == values.tobytes()
