import os

__version__ = "0.fake"
uint8 = "uint8"


class cuda:
    allocator = None

    @classmethod
    def set_allocator(cls, allocator):
        cls.allocator = allocator


class _Block:
    """As much memory as it was told, all of one value."""

    def __init__(self, nbytes):
        self.nbytes, self.value = nbytes, 0
        if cuda.allocator is not None and not os.environ.get("FAKE_CUPY_OWN"):
            cuda.allocator(nbytes)

    def fill(self, value):
        self.value = value

    def __getitem__(self, i):
        return self.value if i == 0 or not os.environ.get("FAKE_CUPY_LOSES") else 0


def empty(size, dtype):
    return _Block(size)


def asarray(a):
    return a * 2 if os.environ.get("FAKE_CUPY_WRONG") else a


def asnumpy(a):
    return a
