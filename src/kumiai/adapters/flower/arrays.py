"""Arrays that travel within a process: Flower's `Array`, read without parsing its header each time.

Flower keeps an array as the bytes of a .npy file and reads it with `numpy.load`, which parses the
header as Python source: at 100 small clients a third of a round. All arrays of one shape and type
have the same header, so it is parsed once. What an app gets is the same: a fresh array of its own.
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

MAGIC = b"\x93NUMPY\x01\x00"  # version 1.0, as numpy writes all but strange headers
LENGTH_BYTES = 2
NUMPY_TYPE = "numpy.ndarray"
FIELDS = ("dtype", "shape", "stype", "data")


class TravelledArray(Array):
    """An `Array` with the fields of another; `numpy` gives the same values as the original's."""

    def __init__(self, original: Array) -> None:
        # Array.__init__ sorts out which of its forms was meant: most of the cost of a small array.
        self.__dict__.update(original.__dict__)

    def __eq__(self, other: object) -> bool:
        """Equal to any `Array` with the same fields."""
        if not isinstance(other, Array):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in FIELDS)

    __hash__ = None  # type: ignore[assignment]  # an Array can be changed: it has none either

    def numpy(self) -> NDArray[np.generic]:
        """Return a new array with the values."""
        data = self.data
        if self.stype != NUMPY_TYPE or not data.startswith(MAGIC):
            return super().numpy()
        begin = len(MAGIC) + LENGTH_BYTES
        end = begin + int.from_bytes(data[len(MAGIC) : begin], "little")
        shape, is_fortran, dtype = read_header(bytes(data[:end]))
        if is_fortran or dtype.hasobject:
            return super().numpy()
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(data, dtype, count, end).reshape(shape).copy()


def build_array(dtype: str, shape: tuple[int, ...], stype: str, data: bytes) -> TravelledArray:
    """Return an array with these fields."""
    array = TravelledArray.__new__(TravelledArray)
    array.__dict__.update(dtype=dtype, shape=shape, stype=stype, data=data)
    return array


@lru_cache(maxsize=4096)
def read_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, order and type of a .npy file that begins with `header`."""
    file = BytesIO(header)
    np.lib.format.read_magic(file)
    return np.lib.format.read_array_header_1_0(file)


def copy_arrays(record: ArrayRecord) -> ArrayRecord:
    """Return the same arrays in objects of their own; the bytes are shared."""
    copied = ArrayRecord()  # handed a dictionary, its constructor would make plain arrays again
    for name, array in record.items():
        copied[name] = TravelledArray(array)
    return copied
