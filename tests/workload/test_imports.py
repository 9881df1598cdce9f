"""Files of other tools, written by hand or by our exporters, imported."""

import gzip
import json

import h5py
import numpy as np
import pytest

from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.exchange.memory_formats import FORMATS
from hmsim.exchange.memory_traces import read_addresses
from hmsim.exchange.plain import read_trace
from hmsim.store.trace import TraceFile
from hmsim.workload import open_workload
from hmsim.workload.export import Selected, export
from hmsim.workload.imports import import_file

AUTHORS = """n,l,tokens
3,0,"[0,2]"
3,1,"[1]"
4,0,"[3, 0]"
4,1,"[]"
"""


def write(folder, text, name="in"):
    path = folder / name
    path.write_text(text)
    return path


def test_the_founding_authors_trace(tmp_path):
    out = tmp_path / "t.h5"
    import_file(write(tmp_path, AUTHORS), "authors", out, {"model": "gpt2"})
    file = TraceFile(out)
    assert (file.steps, file.header.layers, file.header.block_bytes) == (4, 2, 3072)
    (slab,) = file.slabs()
    assert slab.token.tolist() == [3, 3, 4, 4]
    position, layer = file.blocks.position, file.blocks.layer
    reads = np.split(slab.read_block, slab.read_offset[1:-1])
    assert [position[r].tolist() for r in reads] == [[0, 2], [1], [0, 3], []]
    assert layer[slab.append_block].tolist() == [0, 1, 0, 1]
    assert position[slab.append_block].tolist() == [3, 3, 4, 4]
    assert (file.blocks.birth[position < 3] == -1).all()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('5,0,"[9]"\n5,1,"[]"\n', "line 6: tokens of step 5 must be of 0 .. 4"),
        ('5,0,"[1,1]"\n5,1,"[]"\n', "line 6: tokens of step 5 must be"),
        ('5,0,"[a]"\n5,1,"[]"\n', "line 6: tokens must be whole numbers"),
        ("5,0\n", "line 6: expected n,l,"),
        ('5,1,"[]"\n5,0,"[]"\n', r"line 6: step \(5, 1\): expected \(5, 0\)"),
        ('5,0,"[]"\n', "5 steps are not 3 tokens of 2 layers"),
    ],
)
def test_a_bad_line_of_it_is_named_and_nothing_written(tmp_path, line, complaint):
    path = write(tmp_path, AUTHORS + line)
    with pytest.raises(InputError, match=complaint):
        import_file(path, "authors", tmp_path / "t.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_requests_become_a_trace(tmp_path):
    rows = [
        {"timestamp": 0, "input_length": 700, "output_length": 5, "hash_ids": [0, 1]},
        {"timestamp": 9, "input_length": 600, "output_length": 9, "hash_ids": [0, 2]},
    ]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)))
    changes = {"model": "gpt2", "layers": 2, "requests": {"steps": 6}}
    import_file(path, "mooncake", tmp_path / "t.h5", changes)
    file = TraceFile(tmp_path / "t.h5")
    assert (file.steps, file.header.sequences, file.header.tokens_per_block) == (12, 2, 16)
    pages = -(-705 // 16) + -(-606 // 16) - 512 // 16  # the shared prefix once
    assert file.blocks.birth.size == 2 * pages
    with pytest.raises(InputError, match="column ContextTokens is missing"):
        import_file(path, "azure", tmp_path / "u.h5")


def test_requests_become_a_trace_of_any_kind(tmp_path):
    """No key is complained of that the caller did not give."""
    path = tmp_path / "requests.csv"
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,40,2\n")
    given = {"layers": 2, "kind": "dense"}
    import_file(path, None, tmp_path / "dense.h5", given)
    with h5py.File(tmp_path / "dense.h5") as trace:
        assert trace["read/offset"][1] == 3
    streaming = given | {"kind": "streaming", "block_tokens": 32}
    import_file(path, None, tmp_path / "streaming.h5", streaming)
    for key in ("tokens", "trace", "copies"):
        with pytest.raises(InputError, match=f"{key}: the sequences are the file's requests"):
            import_file(path, None, tmp_path / "no.h5", {key: 1})


def test_a_matrix_becomes_a_trace_of_its_own_size(tmp_path):
    np.savez(tmp_path / "s.npz", scores=np.random.default_rng(1).random((4, 3, 20)))
    changes = {"model": "gpt2", "matrix": {"budget": 5}}
    import_file(tmp_path / "s.npz", "matrix", tmp_path / "t.h5", changes)
    file = TraceFile(tmp_path / "t.h5")
    assert (file.steps, file.header.layers) == (12, 3)
    (slab,) = file.slabs()
    assert slab.token.tolist() == sorted([17, 18, 19, 20] * 3)
    assert np.diff(slab.read_offset).tolist() == [5] * 12
    with pytest.raises(InputError, match="give one of budget"):
        import_file(tmp_path / "s.npz", "matrix", tmp_path / "u.h5", {"model": "gpt2"})


@pytest.mark.parametrize("form", ["ramulator", "dramsim3", "dramsys", "gem5", "csv"])
def test_what_we_export_we_import_as_plain_addresses(tmp_path, form):
    spec = WorkloadSpec(model="gpt2", layers=2, tokens=(30, 33), drift=0.5)
    workload = open_workload(spec)
    name = "t" + FORMATS[form].suffix
    export(workload, form, tmp_path / name, Selected(hbm_bytes=3072 * 20))
    import_file(tmp_path / name, form, tmp_path / "plain")
    export(workload, "ramulator", tmp_path / "expected", Selected(hbm_bytes=3072 * 20))
    assert bursts(tmp_path / "plain") == bursts(tmp_path / "expected")


def bursts(path) -> list[tuple[int, int]]:
    """Address and write of every 32 B burst that a plain trace touches."""
    return [
        (line, write)
        for part in read_trace(path)
        for address, size, write in zip(*(each.tolist() for each in part[:3]), strict=True)
        for line in range(address // 32 * 32, address + max(size, 1), 32)
    ]


def test_an_import_keeps_sizes(tmp_path):
    text = "0x1000 READ 0\n0x1040 WRITE 3\n"
    import_file(write(tmp_path, text), "dramsim3", tmp_path / "plain")
    assert (tmp_path / "plain").read_text() == "LD 0x1000+64\nST 0x1040+64\n"
    text = "time_ps,op,address,size\n0,R,33,1\n1,W,31,2\n"
    import_file(write(tmp_path, text), "csv", tmp_path / "plain")
    assert (tmp_path / "plain").read_text() == "LD 0x21+1\nST 0x1f+2\n"


def test_every_word_of_dramsim3_is_what_it_means(tmp_path):
    words = {"READ": 0, "read": 0, "P_MEM_RD": 0, "P_FETCH": 0, "IFETCH": 0,
             "WRITE": 1, "write": 1, "P_MEM_WR": 1, "BOFF": 1}  # fmt: skip
    text = "".join(f"0x{64 * n:x} {word} {n}\n" for n, word in enumerate(words))
    accesses = list(read_addresses(write(tmp_path, text), "dramsim3"))
    assert [access.write for access in accesses] == [bool(kind) for kind in words.values()]


def packets(*fields: tuple[int, ...], ticks: int = 10**12) -> bytes:
    """A gem5 trace: packets of (command, address, size), each with its number as its tick."""

    def message(*pairs: tuple[int, int]) -> bytes:
        body = b"".join(bytes([key << 3]) + varint(value) for key, value in pairs)
        return varint(len(body)) + body

    def varint(value: int) -> bytes:
        low, rest = value & 127, value >> 7
        return bytes([low | 128]) + varint(rest) if rest else bytes([low])

    bodies = (
        message((1, tick), *zip((2, 3, 4), each, strict=False)) for tick, each in enumerate(fields)
    )
    return b"gem5" + message((3, ticks)) + b"".join(bodies)


def test_every_command_of_gem5_that_moves_data(tmp_path):
    path = tmp_path / "t"
    reads, writes, nothing = (1, 11, 12, 13, 22, 24, 25, 26), (4, 7, 8, 9, 16, 27), (10, 17)
    path.write_bytes(packets(*((command, 64, 64) for command in (*reads, *writes, *nothing))))
    accesses = list(read_addresses(path, "gem5"))
    assert [access.write for access in accesses] == [False] * len(reads) + [True] * len(writes)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (packets((1, 64, 64), (2, 64, 64)), "packet 2: command 2: no read or write"),
        (packets((30, 64, 64)), "packet 1: command 30"),
        (packets((1, 64, 64), (1, 64, 0)), "packet 2: 0 bytes"),
        (packets((1, 64, 1 << 40)), "packet 1: 1,099,511,627,776 bytes at 0x40"),
        (packets((1, 64)), "packet 1: has no size"),
        (packets((1,)), "packet 1: has no address"),
        (packets((1, 64, 64), ticks=0), "header: 0 ticks a second"),
        (packets(), "holds no access"),
        (packets((10, 64, 64)), None),
        (b"gem5", "malformed or truncated"),
        (packets((1, 64, 64))[:-2], "packet 1: malformed or truncated"),
    ],
)
def test_gem5_packets_that_are_refused(tmp_path, data, complaint):
    (tmp_path / "in").write_bytes(data)
    with pytest.raises(InputError, match=complaint or "holds no access"):
        import_file(tmp_path / "in", "gem5", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_relative_stl_counts_from_the_access_before(tmp_path):
    text = "# a comment\n10: read 0x40\n5: (128) write 0x80 aabb\n"
    relative = list(read_addresses(write(tmp_path, text, "t.rstl"), "dramsys"))
    absolute = list(read_addresses(write(tmp_path, text, "t.stl"), "dramsys"))
    assert [access.time for access in relative] == [10, 15]
    assert [access.time for access in absolute] == [10, 5]
    assert relative[1][1:] == (True, 0x80, 128)


@pytest.mark.parametrize(
    ("form", "text", "complaint"),
    [
        ("ramulator", "LD 0x20\nLOAD 0x40\n", "line 2: 'LOAD 0x40'; expected"),
        ("ramulator", "# nothing\n", "empty"),
        ("dramsim3", "0x20 READ\n", "line 1: '0x20 READ': expected"),
        ("dramsim3", "0x20 READ 1\n\n0x20 W 2\n", "line 3: 'W': no operation; DRAMsim3 has READ"),
        ("dramsim3", "0x20 P_LOCK_WR 2\n", "line 1: 'P_LOCK_WR'"),
        ("dramsim3", "0x0 READ 9223372036854775807", "holds no access"),
        ("dramsys", "# nothing\n", "holds no access"),
        ("dramsys", "0: (0) read 0x20\n", "line 1: 0 bytes: 1 at least"),
        ("dramsys", "#\n0: (4000000000) read 0x20\n", "line 2: 4,000,000,000 bytes at 0x20"),
        ("dramsys", "1: READ 0x20\n", "line 1"),
        ("csv", "a,b\n", "line 1: expected the header"),
        ("csv", "time_ps,op,address,size\n1,X,2,3\n", "line 2"),
        ("csv", "time_ps,op,address,size\n1,R,2,0\n", "line 2: 0 bytes"),
        ("csv", "time_ps,op,address,size\n", "holds no access"),
        ("gem5", "hello", "does not begin with 'gem5'"),
        ("gem5", "gem5\x7f", "malformed or truncated"),
        ("gem6", "", "format 'gem6': unknown; did you mean 'gem5'"),
        ("csv", "", "empty"),
        ("authors", "", "holds no step"),
    ],
)
def test_malformed_files_are_refused_and_nothing_is_written(tmp_path, form, text, complaint):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=complaint):
        import_file(path, form, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_damaged_gzip_file(tmp_path):
    whole = gzip.compress(b"LD 0x20\nLD 0x40\n" * 1000)
    for damaged in (whole[:-9], whole[:20] + b"xxxx" + whole[24:]):
        (tmp_path / "in").write_bytes(damaged)
        with pytest.raises(InputError, match=r"cannot be read|expected 'LD"):
            import_file(tmp_path / "in", "ramulator", tmp_path / "out")


def test_a_missing_file(tmp_path):
    for form in ("csv", "authors", "mooncake", "matrix"):
        with pytest.raises(InputError, match=r"cannot be read|no such file"):
            import_file(tmp_path / "none", form, tmp_path / "out")
