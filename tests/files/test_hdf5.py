"""HDF5 of strangers: what leads out of the file, and what is damaged, is refused by name."""

import contextlib
import errno
import io
import os
import signal
import time

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsim import hdf5
from hmsim.errors import InputError
from hmsim.store.trace import TraceFile
from hmsim.workload.open import open_workload


@pytest.fixture
def trace(tmp_path):
    """A small legal trace file."""
    from hmsim.config.workload import WorkloadSpec
    from hmsim.workload.trace import save

    spec = WorkloadSpec(model="gpt2", layers=2, block_tokens=4, tokens=(40, 47))
    save(open_workload(spec), tmp_path / "t.h5")
    return tmp_path / "t.h5"


def put(path, name, make):
    with h5py.File(path, "a") as file:
        del file[name]
        make(file)


def test_nothing_outside_the_file_is_read(trace, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(200)) * 100)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["position"] = np.zeros(22, "u4")
    shape = (22,)

    def external_link(file):
        file["block/position"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "position")

    def external_storage(file):
        file.create_dataset(
            "block/position", shape, "u4", external=[(str(secret), 0, 4 * shape[0])]
        )

    def virtual(file):
        layout = h5py.VirtualLayout(shape, "u4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "position", shape)
        file.create_virtual_dataset("block/position", layout)

    def dangling(file):
        file["block/position"] = h5py.SoftLink("/nowhere")

    for make, said in (
        (external_link, "a link to another file"),
        (external_storage, "its data lie in another file"),
        (virtual, "its data lie in another file"),
        (dangling, "a link that leads nowhere"),
    ):
        put(trace, "block/position", make)
        with pytest.raises(InputError, match=f"/block/position.*{said}"):
            TraceFile(trace)
        with hdf5.reading(trace) as file, pytest.raises(InputError, match=said):
            hdf5.check_inside(file)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("block_bytes", [16, 16], "not a number"),
        ("layers", "two", "not a number"),
        ("layers", 1.5, "not a number"),
        ("layers", 2**40, "from 1 to"),
        ("title", 3, "not text"),
        ("title", ["a", "b"], "not text"),
        ("format", np.arange(3), "not text"),
        ("version", h5py.Empty("i4"), "not a number"),
        ("resident_bytes", np.inf, "must be finite"),
        ("seed", -1, "seed"),
        ("sequences", 0, "from 1 to"),
    ],
)
def test_attributes_are_single_values_of_their_kind(trace, name, value, said):
    with h5py.File(trace, "a") as file:
        file.attrs[name] = value
    with pytest.raises(InputError, match=said):
        TraceFile(trace)


def test_sequence_and_position_are_in_range(trace):
    with h5py.File(trace, "a") as file:
        file["block/sequence"][3] = 7
    with pytest.raises(InputError, match="block 3: sequence is not below"):
        TraceFile(trace)
    put(trace, "block/position", lambda file: file.create_dataset(
        "block/position", data=np.full(file["block/layer"].shape, -1, "i8")))  # fmt: skip
    with pytest.raises(InputError, match="block 0: position is not from 0"):
        TraceFile(trace)


def test_a_name_that_cannot_be_looked_up(trace):
    """A group whose table of names lies outside the file."""
    data = bytearray(trace.read_bytes())
    for at in [k for k in range(len(data) - 4) if data[k : k + 4] == b"TREE"]:
        damaged = bytearray(data)
        damaged[at + 8 : at + 16] = (1 << 40).to_bytes(8, "little")
        damaged[at + 24 : at + 48] = (1 << 40).to_bytes(8, "little") * 3
        trace.write_bytes(damaged)
        with contextlib.suppress(InputError):
            for _ in open_workload_of(trace).chunks():
                pass


def test_a_dataset_larger_than_the_memory_is_refused_before_it_is_read(trace):
    put(trace, "read/block", lambda file: file.create_dataset(
        "read/block", (1 << 50,), "u4", chunks=(1024,)))  # fmt: skip
    with h5py.File(trace) as file, pytest.raises(InputError, match="of memory"):
        hdf5.part(file, "read/block")


def test_a_heap_that_hdf5_would_read_for_ever(trace):
    """The entry of what is free, turned into one with a number, ends behind its heap."""
    data = bytearray(trace.read_bytes())
    at = start = data.index(b"GCOL")
    at += 16
    while data[at]:  # the entries that are taken
        at += 16 + -(-int.from_bytes(data[at + 8 : at + 16], "little") // 8) * 8
    assert at < start + 4096
    for place, value in ((at + 1, 4), (at + 8, 0), (at + 9, 255)):
        damaged = bytearray(data)
        damaged[place] = value
        if place == at + 8:
            damaged[place : place + 8] = bytes(8)
        trace.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            TraceFile(trace)


def test_flipped_bits_are_one_line_or_harmless(trace):
    """Every kind of damage is an InputError, or changes nothing that is read."""
    whole = trace.read_bytes()
    rng = np.random.default_rng(3)
    said = []
    for place in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(0, 8)
        trace.write_bytes(damaged)
        try:
            workload = open_workload_of(trace)
            for _ in workload.chunks():
                pass
        except InputError as error:
            said.append(str(error))
    assert len(said) > 5
    assert "\n" not in "".join(said)


def open_workload_of(path):
    from hmsim.workload.trace import TraceWorkload

    return TraceWorkload(path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("method", ["seek", "write", "truncate"])
def test_a_signal_inside_hdf5_is_handled_after_it(tmp_path, monkeypatch, number, method):
    """What a handler raises inside a call of HDF5's own would crash the process at its end."""

    class Called(Exception):
        pass

    def handle(*_):
        raise Called

    path = tmp_path / "new.h5"
    path.touch()
    pending = [number]
    original = getattr(hdf5._Sink, method)

    def interrupted(self, *arguments):
        if pending:
            signal.raise_signal(pending.pop())
        return original(self, *arguments)

    monkeypatch.setattr(hdf5._Sink, method, interrupted)
    kept = signal.signal(number, handle)
    try:
        with pytest.raises(Called):
            output = hdf5.Output(path)
            output.file["data"] = np.arange(1000)
            output.close()
            time.sleep(10)
        output.close()
        assert signal.getsignal(number) is handle
    finally:
        signal.signal(number, kept)
    with h5py.File(path) as file:
        assert file["data"][-1] == 999


class FullAt(io.FileIO):
    """A file on a disk that has room for so many bytes of it."""

    room = 0

    def write(self, data):
        fits = max(0, min(len(data), self.room - self.tell()))
        if not fits and len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data[:fits])


places = st.integers(0, 40)


@given(
    room=places,
    calls=st.lists(st.one_of(
        st.tuples(st.just("write"), places, st.binary(max_size=20)),
        st.tuples(st.just("read"), places, st.integers(0, 30)),
        st.tuples(st.just("end"), st.just(0), st.just(0)),
    )),
)  # fmt: skip
def test_what_a_full_disk_does_not_take_is_read_back_all_the_same(tmp_path_factory, room, calls):
    """HDF5 crashed where it was not."""
    path = tmp_path_factory.mktemp("full") / "x"
    path.touch()
    sink, plain = hdf5._Sink(path), io.BytesIO()
    sink._file.close()
    sink._file = FullAt(path, "r+b")
    sink._file.room = room
    for what, place, how in calls:
        for each in (sink, plain):
            each.seek(0 if what == "end" else place, io.SEEK_END if what == "end" else io.SEEK_SET)
        if what == "write":
            assert sink.write(how) == plain.write(how)
        elif what == "read":
            found, expected = bytearray(how), bytearray(how)
            assert sink.readinto(found) == plain.readinto(expected)
            assert found == expected
        assert sink.tell() == plain.tell()
    written = any(what == "write" and place + len(how) > room and how for what, place, how in calls)
    assert (sink.error is not None) == written
    sink.close()


@pytest.mark.parametrize("room", range(0, 40_000, 1500))
def test_a_disk_that_is_full_anywhere_is_one_line(tmp_path, monkeypatch, room):
    monkeypatch.setattr(FullAt, "room", room)
    with (
        pytest.raises(InputError, match="No space left"),
        hdf5.writing(tmp_path / "x.h5") as output,
    ):
        output._sink._file.close()
        output._sink._file = FullAt(output._sink._file.name, "r+b")
        for k in range(60):
            output.file.create_dataset(f"of a long name {k}", data=np.arange(100)).attrs["x"] = (
                "y" * 99
            )
        output.file.flush()
        output.check()
    assert not list(tmp_path.iterdir())
