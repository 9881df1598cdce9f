"""Plain address traces: the compiled parser beside one that is written from the rules."""

import gzip
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.errors import InputError
from hmsim.exchange import plain
from hmsim.exchange.memory_traces import read_addresses

LINE = re.compile(
    r"[ \t\r\v\f]*(?:(LD|ST)[ \t\r\v\f]+(0[xX][0-9a-fA-F]+|[0-9]+)(?:\+(0[xX][0-9a-fA-F]+|[0-9]+))?"
    r"[ \t\r\v\f]*)?(?:#.*)?"
)


def slow(text: str) -> list[tuple[int, int, int]] | int:
    """Address, size and write of every access; or the number of the first line that is wrong."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        match = LINE.fullmatch(line)
        if match is None:
            return number
        if match[1] is None:
            continue
        address, size = (int(part or "0", 16 if "x" in (part or "").lower() else 10)
                         for part in match.group(2, 3))  # fmt: skip
        if address >= 1 << 62 or size > 1 << 30 or (match[3] and not size):
            return number
        found.append((address, size, int(match[1] == "ST")))
    return found


def fast(path) -> list[tuple[int, int, int]]:
    return [
        row
        for part in plain.read_trace(path)
        for row in zip(*(column.tolist() for column in part[:3]), strict=True)
    ]


@st.composite
def words(draw):
    """Mostly a proper access, at times a line that is nearly one."""
    number = st.one_of(
        st.integers(0, 1 << 63).map(hex), st.integers(0, 1 << 63).map(str),
        st.integers(0, 1 << 20).map(lambda n: f"0X{n:08X}"),
        st.sampled_from(["0x", "1_0", "-4", "+4", "4h", "007", "1" * 30, "0x" + "0" * 20 + "f"]),
    )  # fmt: skip
    blank = st.sampled_from([" ", "  ", "\t", " \t ", ""])
    size = st.one_of(st.just(""), number.map(lambda n: f"+{n}"))
    kind = st.sampled_from(["LD", "ST", "LD", "ST", "ld", "L", "LDX", "R"])
    comment = st.sampled_from(["", "", "#", " # LD 5", "#\x01", "x"])
    line = draw(blank) + draw(kind) + draw(blank) + draw(number) + draw(size) + draw(blank)
    return draw(st.sampled_from([line, line, line, "", "  ", "# all"])) + draw(comment)


@pytest.mark.parametrize("block", [64, 1 << 20])
@settings(deadline=None)  # the first example may compile the parser
@given(
    lines=st.lists(words(), max_size=12),
    ends=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    packed=st.sampled_from([0, 1, 2]),
)
def test_as_the_rules_say(tmp_path_factory, block, lines, ends, last, packed):
    text = ends.join(lines) + ends * last
    data = text.encode()
    path = tmp_path_factory.mktemp("plain") / "x.trace"
    half = len(data) // 2
    path.write_bytes(
        [data, gzip.compress(data), gzip.compress(data[:half]) + gzip.compress(data[half:])][packed]
    )
    expected = slow(text)
    before, plain.BLOCK = plain.BLOCK, block
    try:
        if isinstance(expected, list) and expected:
            assert fast(path) == expected
            return
        with pytest.raises(InputError) as error:
            fast(path)
    finally:
        plain.BLOCK = before
    said = str(error.value)
    assert ("empty" if expected == [] else f"line {expected}: ") in said.replace(str(path), "")
    assert "\n" not in said


def test_a_line_is_named_wherever_it_stands(tmp_path):
    path = tmp_path / "x.trace"
    path.write_bytes(b"\xef\xbb\xbf# mark\nLD 1\n\n" + b"LD 2 # again\n" * 200_000 + b"ST 3\n")
    parts = list(plain.read_trace(path))
    assert len(parts) > 1
    assert sum(len(part.address) for part in parts) == 200_002
    assert parts[0].where(0) == "line 2"
    assert parts[0].where(1) == "line 4"
    assert parts[-1].where(len(parts[-1].address) - 1) == "line 200004"
    path.write_bytes(path.read_bytes() + b"ST 3 4\n")
    with pytest.raises(InputError, match="line 200005: 'ST 3 4'"):
        list(plain.read_trace(path))


def test_a_line_without_end_is_refused(tmp_path):
    path = tmp_path / "x.trace"
    path.write_bytes(b"LD 0\n# " + b"x" * (plain.BLOCK - 9) + b"\nLD 1\n")
    assert len(fast(path)) == 2
    path.write_bytes(b"LD 0\nLD 1" + b"0" * (2 * plain.BLOCK + 9) + b"\n")
    with pytest.raises(InputError, match="line 2: longer than"):
        fast(path)


@pytest.mark.parametrize("cut", [-9, 30])
def test_a_damaged_gzip_file(tmp_path, cut):
    path = tmp_path / "x.trace.gz"
    whole = gzip.compress(b"LD 0x40\n" * 1000)
    path.write_bytes(whole[:cut])
    with pytest.raises(InputError, match=r"damaged gzip file"):
        fast(path)


def test_an_import_takes_the_lines_that_a_replay_takes(tmp_path):
    path = tmp_path / "x.trace"
    path.write_text("# hello\nLD  0123\n\nST\t0x40 # there\r\nLD 64+256\n")
    accesses = list(read_addresses(path, "ramulator"))
    assert [access[1:] for access in accesses] == [
        (False, 123, 0), (True, 64, 0), (False, 64, 256),
    ]  # fmt: skip
    assert [(a.address, a.size, int(a.write)) for a in accesses] == fast(path)


def test_speed_is_that_of_compiled_code(tmp_path):
    """Half a second for a million lines, where a loop of Python takes three."""
    import time

    path = tmp_path / "x.trace"
    address = np.random.default_rng(1).integers(0, 1 << 25, 1_000_000) * 32
    path.write_text("".join(f"LD 0x{each:x}\n" for each in address.tolist()))
    fast_first = next(plain.read_trace(path))
    assert len(fast_first.address)
    began = time.process_time()
    total = sum(int(part.address.sum()) for part in plain.read_trace(path))
    assert time.process_time() - began < 0.5
    assert total == address.sum()
