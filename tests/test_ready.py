"""Machine code of kernels, called without Numba."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from hmsim import ready

TOY = """
import numpy as np
from hmsim.jit import kernel, record_kernel

@record_kernel
def plain(values, text, twice, add):
    total = add
    for i in range(len(values)):
        total += values[i] * (2 if twice else 1)
        values[i] = i
    return total, np.int64(len(text))

@kernel
def allocates(values):
    return len(np.zeros(values[0])), 1

@kernel
def raises(values):
    if values[0] > 1:
        raise ValueError("more than one")
    return 1, 1

@kernel
def returns_a_float(values):
    return 0.5 * values[0]
"""
STAMP = "stamp"


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("ready") / "toy_of_ready.py"
    path.write_text(TOY)
    spec = importlib.util.spec_from_file_location("toy_of_ready", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy_of_ready"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["toy_of_ready"]


def arguments():
    values = np.arange(5)
    text = np.frombuffer(b"seven b", np.uint8)
    return values, text, True, -4


def test_machine_code_does_what_the_kernel_does(toy, tmp_path):
    """Results, what it writes to an array, and arguments of another kind, which go to the kernel."""
    path = tmp_path / "x.code"
    by_numba = arguments()
    expected = toy.plain(*by_numba)
    kinds = "".join(map(ready._kind, by_numba))
    assert kinds == "qUbi"
    ready._keep(toy.plain, kinds, path, STAMP)
    code = ready._Code(ready._read(path, STAMP), kinds, lambda: toy.plain)
    given = arguments()
    assert code(*given) == expected == (16, 7)
    assert given[0].tolist() == by_numba[0].tolist() == [0, 1, 2, 3, 4]
    assert code(np.arange(3), given[1], False, 1) == (4, 7)
    assert code(np.arange(10)[::2], given[1], False, 0) == (20, 7)
    assert len(toy.plain.overloads) == 2


@pytest.mark.parametrize("name", ["allocates", "raises", "returns_a_float"])
def test_what_needs_numba_is_not_kept(toy, tmp_path, name):
    kernel = getattr(toy, name)
    kernel(np.arange(1, 3))
    ready._keep(kernel, "q", tmp_path / "x.code", STAMP)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_kept_is_no_error(toy, tmp_path):
    given = arguments()
    toy.plain(*given)
    (tmp_path / "file").write_text("")
    ready._keep(toy.plain, "qUbi", tmp_path / "file/x.code", STAMP)
    ready._keep(toy.plain, "qq", tmp_path / "x.code", STAMP)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_other_or_damaged_machine_code_is_not_read(toy, tmp_path):
    path = tmp_path / "x.code"
    toy.plain(*arguments())
    ready._keep(toy.plain, "qUbi", path, STAMP)
    kept = path.read_bytes()
    assert ready._read(path, STAMP) is not None
    assert ready._read(path, "another") is None
    about, _, content = kept.partition(b"\n")
    for damaged in (
        kept[:-9], kept[:40], b"", content, b"[]\n" + content, b"{}\n" + content,
        about + b"\n" + content.replace(b"\0", b"\1", 1),
    ):  # fmt: skip
        path.write_bytes(damaged)
        assert ready._read(path, STAMP) is None
    path.unlink()
    assert ready._read(path, STAMP) is None


@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        (np.arange(3), "q"), (np.arange(3).view(">i8"), "?"), (np.arange(6)[::2], "?"),
        (np.zeros((2, 2), np.int64), "?"), (np.zeros(2, np.uint8), "u"), (np.zeros(2), "?"),
        (np.frombuffer(b"x", np.uint8), "U"), (np.frombuffer(b"12345678x", "i8", 1), "Q"),
        (3, "i"), (np.int64(3), "i"), (np.int32(3), "?"), (True, "b"), (0.5, "?"), ([3], "?"),
    ],
)  # fmt: skip
def test_kinds_of_arguments(argument, kind):
    assert ready._kind(argument) == kind


ALONE = """
import json, os, sys
SETTING
from pathlib import Path
from hmsim import ready
found = [ready._comes_before_numba()]
from hmsim.exchange import plain
for text in (b"LD 8\\n", b"ST 0x20+4\\n"):
    found.append([column.tolist() for part in plain.parse("x", [text]) for column in part[:3]])
found.append("numba" in sys.modules)
plain._parse(*map(plain.np.array, ([76], plain._CLASS)), *plain.np.zeros((3, 1), int))
found.append("numba" in sys.modules)
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="machine code is kept on Linux")
@pytest.mark.parametrize("setting", ["", "import numba", "os.environ['NUMBA_OPT'] = '2'"])
def test_numba_is_left_out_where_it_can_be(tmp_path, setting):
    """Not where it is there already, nor under settings of its own."""
    code = ALONE.replace("SETTING", setting)
    for _ in range(1 if setting else 2):  # the first one leaves what the second one finds
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, text=True
        )
    alone, *parsed, before, after = json.loads(done.stdout)
    assert parsed == [[[8], [0], [0]], [[32], [4], [1]]]
    assert (alone, before, after) == ((True, False, True) if not setting else (False, True, True))
