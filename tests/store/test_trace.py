"""Trace files: what is written is read back, and every rule is enforced by name."""

import itertools

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.errors import InputError
from hmsim.store.trace import SCHEMA, Blocks, Header, Slab, TraceFile, write_trace

pytestmark = pytest.mark.nojit

HEADER = Header(block_bytes=64, tokens_per_block=4, layers=2, sequences=1, resident_bytes=5.0)

# Two layers, two tokens. Blocks 0 and 1 are prompt, 2 and 3 are born in the second token; block 0
# dies at the last step.
LEGAL = {
    "block/layer": [0, 1, 0, 1],
    "block/sequence": [0, 0, 0, 0],
    "block/position": [0, 0, 1, 1],
    "block/birth": [-1, -1, 2, 3],
    "block/death": [3, 4, 4, 4],
    "step/token": [7, 7, 8, 8],
    "step/layer": [0, 1, 0, 1],
    "step/hbm_bytes": [1.0, 2.0, 3.0, 4.0],
    "step/compute_s": [0.0, 0.0, 0.0, 0.5],
    "read/offset": [0, 1, 2, 4, 5],
    "read/block": [0, 1, 0, 2, 1],
    "append/offset": [0, 1, 2, 3, 4],
    "append/block": [0, 1, 2, 3],
    "append/bytes": [16, 16, 16, 64],
}


def make(path, changes=(), **attributes):
    """A trace file written by hand: `LEGAL` with some datasets changed, or None to leave out."""
    with h5py.File(path, "w") as file:
        file.attrs.update(
            {"format": "hmsim-trace", "version": 1, "block_bytes": 64, "layers": 2} | attributes
        )
        for name, values in (LEGAL | dict(changes)).items():
            if values is not None:
                file[name] = np.array(values).astype(SCHEMA[name][0])
    return path


def test_a_legal_file_is_read(tmp_path):
    file = TraceFile(make(tmp_path / "t.h5", title=b"by hand"))
    assert file.header == Header(block_bytes=64, layers=2, title="by hand")
    assert not file.one_lane
    (slab,) = file.slabs()
    for name in ("token", "layer", "hbm_bytes", "compute_s"):
        assert getattr(slab, name).tolist() == LEGAL[f"step/{name}"]
    assert slab.read_block.tolist() == LEGAL["read/block"]
    assert slab.append_bytes.tolist() == LEGAL["append/bytes"]


def test_the_number_of_layers_may_be_left_to_the_blocks(tmp_path):
    path = make(tmp_path / "t.h5")
    with h5py.File(path, "a") as file:
        del file.attrs["layers"]
    assert TraceFile(path).header.layers == 2


def test_whole_numbers_do_for_bytes_and_seconds(tmp_path):
    path = make(tmp_path / "t.h5", {"step/hbm_bytes": None})
    with h5py.File(path, "a") as file:
        file["step/hbm_bytes"] = np.array([1, 2, 3, 4])
    (slab,) = TraceFile(path).slabs()
    assert slab.hbm_bytes.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert slab.hbm_bytes.dtype == np.float64


@pytest.mark.parametrize("absent", ["block/death", "step/hbm_bytes", "step/compute_s"])
def test_optional_datasets_have_defaults(tmp_path, absent):
    file = TraceFile(make(tmp_path / "t.h5", {absent: None}))
    (slab,) = file.slabs()
    values = file.blocks.death if absent == "block/death" else getattr(slab, absent[5:])
    assert values.tolist() == ([4] * 4 if absent == "block/death" else [0] * 4)


@pytest.mark.parametrize(
    "changes",
    [{"step/layer": [-1, -1, -1, -1]}, {"read/block": [0, 0, 0, 2, 1]}],
    ids=["steps without layer", "a read across layers"],
)
def test_steps_that_do_not_keep_to_a_layer_share_one_lane(tmp_path, changes):
    assert TraceFile(make(tmp_path / "t.h5", changes)).one_lane


ILLEGAL = {
    "birth >= 0 without an append": {
        "append/offset": [0, 1, 2, 2, 3],
        "append/block": [0, 1, 3],
        "append/bytes": [1, 1, 1],
    },
    "block 2: birth < -1 or birth >= T": {"block/birth": [-1, -1, 4, 3]},
    "block 0: birth < -1": {"block/birth": [-2, -1, 2, 3]},
    "death <= max": {"block/death": [0, 4, 4, 4]},
    "block 3: death <= max": {"block/death": [3, 4, 4, 3]},
    "or death > T": {"block/death": [3, 4, 4, 5]},
    "step 1, block 2: a read outside the block's life": {"read/block": [0, 2, 0, 2, 1]},
    "step 3, block 0: a read outside the block's life": {"read/block": [0, 1, 0, 2, 0]},
    "step 0, block 3: an append outside the block's life": {"append/block": [3, 1, 2, 3]},
    "step 3, block 3: appends exceed block_bytes": {"append/bytes": [16, 16, 16, 65]},
    "step 2, block 0: reads unsorted or repeated": {"read/block": [0, 1, 2, 0, 1]},
    "step 2, block 2: reads unsorted or repeated": {"read/block": [0, 1, 2, 2, 1]},
    "step 1, block 0: appends unsorted or repeated": {
        "append/offset": [0, 0, 2, 3, 4],
        "append/block": [1, 0, 2, 3],
    },
    "step 0, block 9: a read of a block that does not exist": {"read/block": [9, 1, 0, 2, 1]},
    "block 9: an append to a block that does not exist": {"append/block": [0, 1, 2, 9]},
    "/read/offset must start at 0, grow, and end": {"read/offset": [1, 1, 2, 4, 5]},
    "/read/offset must start at 0, grow, and end at": {"read/offset": [0, 2, 1, 4, 5]},
    "/read/offset must start at 0, grow, and end at the": {"read/offset": [0, 1, 2, 4, 6]},
    "/append/offset must start": {"append/offset": [0, 1, 2, 3, 3]},
    "/append/bytes: 3 entries: expected 4": {"append/bytes": [16, 16, 16]},
    "/block/birth: 3 entries: expected 4": {"block/birth": [-1, -1, 2]},
    "/step/layer: 3 entries: expected 4": {"step/layer": [0, 1, 0]},
    "/step/layer: expected -1 .. 1": {"step/layer": [0, 2, 0, 1]},
    "layer is not below": {"block/layer": [0, 1, 0, 2]},
    "steps of one token that are not consecutive": {"step/token": [7, 8, 7, 8]},
    "/step/hbm_bytes: must be finite": {"step/hbm_bytes": [0, -1, 0, 0]},
    "/step/compute_s: must be finite": {"step/compute_s": [0, np.nan, 0, 0]},
    "dataset /read/block is missing": {"read/block": None},
    "holds no step": {
        name: ([0] if name.endswith("offset") else [])
        for name in LEGAL
        if not name.startswith("block")
    },
}


@pytest.mark.parametrize("rule", ILLEGAL)
def test_a_file_that_breaks_a_rule_is_refused_with_it(tmp_path, rule):
    with pytest.raises(InputError) as refused:
        TraceFile(make(tmp_path / "t.h5", ILLEGAL[rule]))
    assert rule in str(refused.value)
    assert "\n" not in str(refused.value)


def test_appends_add_up_over_the_whole_file(tmp_path):
    changes = {"append/block": [0, 1, 0, 3], "append/bytes": [33, 1, 32, 64]}
    changes["block/birth"] = [-1, -1, -1, 3]
    with pytest.raises(InputError, match="step 2, block 0: appends exceed block_bytes"):
        TraceFile(make(tmp_path / "t.h5", changes))


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"format": "other"}, "format 'other': expected 'hmsim-trace'"),
        ({"version": 2}, "version 2: this reads version 1"),
        ({"block_bytes": 0}, "block_bytes: from 1 to"),
        ({"block_bytes": "big"}, "block_bytes 'big': not a number"),
        ({"resident_bytes": -1.0}, "resident_bytes: must be finite, not negative"),
    ],
)
def test_bad_attributes_are_named(tmp_path, attributes, complaint):
    with pytest.raises(InputError, match=complaint):
        TraceFile(make(tmp_path / "t.h5", **attributes))


def test_files_that_are_no_trace(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        TraceFile(tmp_path / "none.h5")
    legal = make(tmp_path / "t.h5").read_bytes()
    for content in (b"", b"n,l,tokens\n", legal[: len(legal) // 2]):
        path = tmp_path / "bad.h5"
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a readable HDF5 file"):
            TraceFile(path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1]
    with pytest.raises(InputError, match="format '': expected"):
        TraceFile(tmp_path / "other.h5")


def written(file):
    names = [f"block/{name}" for name in Blocks._fields]
    data = dict(zip(names, file.blocks, strict=True))
    slabs = list(file.slabs())
    for name in SCHEMA:
        room, column = name.split("/")
        if room != "block" and column != "offset":
            field = column if room == "step" else f"{room}_{column}"
            data[name] = np.concatenate([getattr(slab, field) for slab in slabs])
    for room in ("read", "append"):
        lengths = [np.diff(getattr(slab, f"{room}_offset")) for slab in slabs]
        data[f"{room}/offset"] = np.cumsum(np.concatenate([[0], *lengths]))
    return data


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5))
def test_what_is_written_in_slabs_is_read_back_in_slabs(tmp_path_factory, reads, steps):
    folder = tmp_path_factory.mktemp("trace")
    first = TraceFile(make(folder / "a.h5"))
    write_trace(folder / "b.h5", HEADER, first.blocks, first.slabs(reads, steps))
    again = TraceFile(folder / "b.h5")
    assert again.header == HEADER
    for name, values in written(again).items():
        assert values.tolist() == LEGAL[name], name


def test_datasets_longer_than_one_hdf5_chunk(tmp_path):
    rng = np.random.default_rng(5)
    steps, width = 700, 1000
    reads = np.sort(rng.permuted(np.tile(np.arange(2000), (steps, 1)), axis=1)[:, :width], axis=1)
    none = np.zeros(0, np.int64)
    blocks = Blocks(*(np.zeros(2000, np.int64) for _ in range(5)))
    blocks = blocks._replace(birth=blocks.birth - 1, death=blocks.death + steps)

    def slab(first, last):
        count = last - first
        zeros = np.zeros(count)
        offset = np.arange(count + 1) * width
        return Slab(
            first, np.arange(first, last), np.zeros(count, np.int64), zeros, zeros, offset,
            reads[first:last].reshape(-1), np.zeros(count + 1, np.int64), none, none,
        )  # fmt: skip

    header = Header(block_bytes=1)
    cuts = [0, 1, 300, 301, 650, 700]
    slabs = [slab(*cut) for cut in itertools.pairwise(cuts)]
    write_trace(tmp_path / "t.h5", header, blocks, slabs)
    again = [slab.read_block for slab in TraceFile(tmp_path / "t.h5").slabs(reads=7777)]
    assert len(again) > 80
    np.testing.assert_array_equal(np.concatenate(again), reads.reshape(-1))


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = make(tmp_path / "t.h5")
    before = path.read_bytes()
    file = TraceFile(path)

    def slabs():
        yield from file.slabs()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_trace(path, HEADER, file.blocks, slabs())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.h5"]


def test_an_unwritable_place_is_an_input_error(tmp_path):
    file = TraceFile(make(tmp_path / "t.h5"))
    with pytest.raises(InputError, match="cannot be written"):
        write_trace(tmp_path / "t.h5" / "t.h5", HEADER, file.blocks, [])
