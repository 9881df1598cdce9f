"""Elements of records are read and written as Python does it, and bounds are checked where asked."""

import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from hmsim.elements import constants, put_off, records
from hmsim.jit import record_kernel


class Pair(NamedTuple):
    left: np.ndarray
    right: np.ndarray


def sum_of_fields(s, wide, x, pair, flags):
    own = s[2] + s[s[0] + 1] + s[s[0] + 1 + s[1]]
    return own + wide[1, 2] + wide[s[0]][s[1]] + x[3] + pair.left[0]


def chained(s, wide, x, pair, flags):
    s[3] = x[2] = pair.right[s[0] + 1] = s[4] + 1
    first, s[6] = s[7], s[5]
    (s[7], wide[1, 1]) = (first, s[6])
    return s[6]


def augmented(s, wide, x, pair, flags):
    s[s[0] + 2] += 3
    s[s[s[0] + 1]] -= s[4]
    x[1] *= s[2]
    x[2] /= 4
    s[5] |= s[4] == s[4]
    s[6] <<= 2
    wide[1][2] += wide[0][1]
    flags[1] ^= np.uint64(5)
    pair.left[s[0]] += pair.right[1]
    return s[5]


def converted(s, wide, x, pair, flags):
    s[2] = x[0] * 3.7
    x[1] = s[3]
    s[4] = s[3] > 2
    s[np.int32(5)] = s[np.uint64(1)]
    return s[5]


def rows(s, wide, x, pair, flags):
    row = wide[s[0]]
    row[1] = 9
    part = s[2:6]
    part[s[0] + 1] = row[0]
    return len(part) + wide[-1, 0]


def looped(s, wide, x, pair, flags):
    total = 0
    i = 0
    while i < len(s) and s[i] < 100:
        if s[i] > 2 and (i == 0 or s[i - 1] != s[i]):
            total += s[i]
        s[i] = total if i % 2 else -total
        i += 1
    return total


def extremes(s, wide, x, pair, flags):
    s[3] = max(s[2], min(s[4], 5))
    x[0] = max(x[1], s[0])
    x[2] = min(max(x[3], 0.5), float("nan"))
    s[5] = max(s[4], s[5], s[6])
    return min(s[6], 4) + max(wide[0, 0], s[7])


WAYS = [sum_of_fields, chained, augmented, converted, rows, looped, extremes]


def arguments(seed):
    rng = np.random.default_rng(seed)
    s = rng.integers(2, 8, 8)
    s[:2] = 1, 2
    pair = Pair(rng.integers(0, 9, 4), rng.integers(0, 9, 4))
    return s, rng.integers(0, 9, (3, 4)), rng.random(5), pair, np.arange(3).astype(np.uint64)


@pytest.mark.nojit
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_record_kernel_does_as_python_does(way):
    compiled = record_kernel(way)
    for seed in range(3):
        expected, found = arguments(seed), arguments(seed)
        assert compiled(*found) == way(*expected)
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(np.array(one), np.array(other))


@record_kernel
def _move(p, s):
    s[p[0]] = s[p[1]] + p[p[2] + 1]
    s[p[3]] |= 8
    put_off(s, 3, p, 4, s[0])


@record_kernel
def _moved(parameters, state):
    _move(constants(parameters), records(state))


@pytest.mark.nojit
def test_arrays_are_handed_on_as_addresses():
    state = np.array([1, 2, 4, 7, 7, -9, 7, 7, 7, 7, 7])
    never = -(1 << 40)
    _moved(np.array([0, 2, 1, 1, 1, 3, never, 2, 3, never, 1, 4]), state)
    assert state.tolist() == [5, 10, 4, 7, 8, -9, 7, 8, 7, 7, 9]


BEYOND = """
import numpy as np
from hmsim.bits import add, has
bits = np.zeros(2, np.uint64)
add(bits, 127)
print(has(bits, 127))
try:
    add(bits, 128)
except IndexError as error:
    print(error)
"""


def test_bounds_are_checked_where_asked(tmp_path):
    """As CI does for the memory kernels."""
    checked = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", BEYOND], env=checked, capture_output=True, text=True
    )
    assert done.stdout.split("\n")[:2] == ["True", "index is out of bounds"], done.stderr
