"""Every exporter is read back by a parser written from the format's description alone."""

import gzip
import json
import re
import tomllib

import numpy as np
import pytest

from hmsim.config.workload import WorkloadSpec
from hmsim.errors import InputError
from hmsim.exchange.memory_formats import FORMATS, Target
from hmsim.workload import open_workload
from hmsim.workload.export import DRAM, HBM, Selected, StaticAddresses, estimate, export

BLOCK = 4 * 3072  # gpt2: 3 KiB a token and layer
HBM_BYTES = 30 * BLOCK


@pytest.fixture
def workload():
    spec = WorkloadSpec(
        model="gpt2", layers=2, block_tokens=4, tokens=(61, 66), sparsity=0.5, drift=0.5
    )
    return open_workload(spec)


def accesses(workload, selected=Selected(), tier=None):  # noqa: B008
    """(write, tier, address in tier, size) of every access: the definition, block by block."""
    place = StaticAddresses(workload, HBM_BYTES, BLOCK)
    filled: dict[int, int] = {}
    out = []
    for chunk in workload.chunks():
        for k in range(chunk.reads.size):
            step, base = chunk.first + k, int(chunk.lane[k]) * workload.geometry.slots
            bits = np.unpackbits(chunk.bits[k].view(np.uint8), bitorder="little")
            rows = [(0, base + slot, 0, BLOCK) for slot in np.flatnonzero(bits)]
            for i in range(chunk.append_offset[k], chunk.append_offset[k + 1]):
                block, size = base + int(chunk.append_slot[i]), int(chunk.append_bytes[i])
                rows.append((1, block, filled.get(block, 0), size))
                filled[block] = filled.get(block, 0) + size
            last = selected.last or workload.geometry.steps
            if selected.first <= step < last and (step - selected.first) % selected.every == 0:
                for write, block, offset, size in rows:
                    (where,), (address,) = place(step, np.array([block]))
                    if tier in (None, where):
                        out.append((write, int(where), int(address) + offset, size))
    return out


def lines_of(accesses, granule, whole=True):
    """(write, address) of every transaction."""
    return [
        (write, address + (where * HBM_BYTES if whole else 0) + at)
        for write, where, address, size in accesses
        for at in range(0, size, granule)
    ]


def selected(**changes):
    return Selected(**({"hbm_bytes": HBM_BYTES} | changes))


def test_ramulator_load_store(tmp_path, workload):
    path = tmp_path / "t"
    count = export(workload, "ramulator", path, selected())
    text = path.read_text()
    found = []
    for line in text.split("\n")[:-1]:
        match = re.fullmatch(r"(LD|ST) (\d+|0x[0-9a-f]+)", line)  # one space, nothing else
        assert match, line
        found.append((int(match[1] == "ST"), int(match[2], 0)))
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert found == lines_of(accesses(workload), 32)
    assert count == len(found)
    assert {address % 32 for _, address in found} == {0}
    steps = np.diff([address for write, address in found if not write])
    assert (steps == 32).mean() > 0.9  # 64-byte steps would leave channels idle


def test_ramulator_read_write_holds_reads_only_in_device_columns(tmp_path, workload):
    def decode(address):
        line = address // 32
        return [line // 256, np.zeros_like(line), line % 256 // 32, line % 32]

    path = tmp_path / "t"
    export(workload, "ramulator-rw", path, selected(), Target(decode=decode, columns_per_burst=8))
    found = []
    for line in path.read_text().splitlines():
        kind, levels = line.split(" ")
        assert kind == "R"
        row, zero, bank, column = map(int, levels.split(","))
        assert zero == 0
        assert column % 8 == 0
        found.append((0, 32 * (row * 256 + bank * 32 + column // 8)))
    assert found == [line for line in lines_of(accesses(workload), 32) if not line[0]]
    with pytest.raises(InputError, match="needs the address mapping"):
        export(workload, "ramulator-rw", tmp_path / "u")
    assert not (tmp_path / "u").exists()


def test_dramsim3_survives_its_readers_last_record(tmp_path, workload):
    """The reader takes the last record again when the file ends in a newline."""
    path = tmp_path / "t"
    export(workload, "dramsim3", path, selected(rate=1e12), Target(clock_hz=2e9))
    text = path.read_text()
    *records, last = text.split("\n")
    assert last == "0x0 READ 9223372036854775807"
    found, cycles = [], []
    for record in records:
        address, operation, cycle = record.split()
        assert operation in ("READ", "WRITE")
        found.append((int(operation == "WRITE"), int(address, 16)))
        cycles.append(int(cycle))
    assert found == lines_of(accesses(workload), 64)
    assert cycles == [64 * i * 2 // 1000 for i in range(len(found))]  # 64 ps apart, rounded down


def test_dramsys_player(tmp_path, workload):
    path = tmp_path / "t.stl"
    export(workload, "dramsys", path, selected(), Target(clock_hz=1e9))
    found, cycles = [], []
    for line in path.read_text().splitlines():
        match = re.fullmatch(r"(\d+): \((\d+)\) (read|write) 0x([0-9a-f]+)", line)
        assert match, line
        assert int(match[2]) == 64
        cycles.append(int(match[1]))
        found.append((int(match[3] == "write"), int(match[4], 16)))
    assert found == lines_of(accesses(workload), 64)
    assert cycles == sorted(cycles)
    slow = selected(rate=1e5)
    with pytest.raises(InputError, match="do not fit 32 bits"):
        export(workload, "dramsys", tmp_path / "u.stl", slow, Target(clock_hz=1e12))
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("u")] == []


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def message(data, at):
    """Fields of one length-delimited message: numbers and byte strings."""
    length, at = varint(data, at)
    end, fields = at + length, {}
    while at < end:
        tag, at = varint(data, at)
        if tag & 7 == 0:
            fields[tag >> 3], at = varint(data, at)
        else:
            assert tag & 7 == 2
            size, at = varint(data, at)
            fields[tag >> 3], at = data[at : at + size], at + size
    assert at == end
    return fields, at


@pytest.mark.parametrize("name", ["t", "t.gz"])
def test_gem5_packets(tmp_path, workload, name):
    path = tmp_path / name
    export(workload, "gem5", path, selected())
    data = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    assert int.from_bytes(data[:4], "little") == 0x356D6567
    header, at = message(data, 4)
    assert header == {1: b"hmsim", 2: 0, 3: 10**12}
    found, ticks = [], []
    while at < len(data):
        packet, at = message(data, at)
        assert packet[4] == 64
        found.append(({1: 0, 4: 1}[packet[2]], packet[3]))
        ticks.append(packet[1])
    assert found == lines_of(accesses(workload), 64)
    assert ticks == [64 * i for i in range(len(found))]


def test_csv_keeps_whole_accesses(tmp_path, workload):
    path = tmp_path / "t.csv"
    export(workload, "csv", path, selected())
    header, *lines = path.read_text().splitlines()
    assert header == "time_ps,op,address,size"
    rows = [line.split(",") for line in lines]
    expected = [
        ("RW"[write], address + where * HBM_BYTES, size)
        for write, where, address, size in accesses(workload)
    ]
    assert [(op, int(address), int(size)) for _, op, address, size in rows] == expected


def test_a_range_a_sample_and_a_tier(tmp_path, workload):
    path = tmp_path / "t"
    for tier in (HBM, DRAM):
        part = selected(first=2, last=11, every=3, tier=tier)
        export(workload, "ramulator", path, part)
        found = [
            (int(line.startswith("ST")), int(line.split()[1], 16))
            for line in path.read_text().splitlines()
        ]
        assert found == lines_of(accesses(workload, part, tier), 32, whole=False)
        assert found


def test_addresses_may_come_from_any_placement(tmp_path, workload):
    asked = []

    def place(step, blocks):
        asked.append(step)
        return np.full(blocks.size, DRAM), blocks * (1 << 20)

    export(workload, "ramulator", tmp_path / "t", selected(every=4, tier=DRAM), addresses=place)
    assert asked == [0, 4, 8]
    addresses = [int(line.split()[1], 16) for line in (tmp_path / "t").read_text().splitlines()]
    assert {address % (1 << 20) < BLOCK for address in addresses} == {True}


@pytest.mark.parametrize("form", ["ramulator", "dramsim3", "dramsys", "gem5", "csv"])
def test_the_estimate_is_right_about_requests_and_close_about_bytes(tmp_path, workload, form):
    guess = estimate(workload, form, selected(every=2))
    path = tmp_path / "t"
    assert export(workload, form, path, selected(every=2)) == guess.requests
    assert path.stat().st_size == pytest.approx(guess.file_bytes, rel=0.4)


def test_the_sidecar_says_where_the_file_comes_from(tmp_path, workload):
    part = selected(tier=HBM, first=3)
    count = export(workload, "dramsim3", tmp_path / "t", part, notes={"policy": "mine"})
    meta = json.loads((tmp_path / "t.meta.json").read_text())
    assert meta["requests"] == count
    assert (meta["transaction_bytes"], meta["policy"]) == (64, "mine")
    assert (meta["tier"], meta["first_step"], meta["last_step"]) == ("hbm", 3, 12)
    again = WorkloadSpec(**tomllib.loads(meta["workload"])["workload"])
    assert open_workload(again).geometry == workload.geometry


def test_bad_calls_leave_nothing_behind(tmp_path, workload):
    with pytest.raises(InputError, match="format 'dramsim': unknown; did you mean 'dramsim3'"):
        export(workload, "dramsim", tmp_path / "t")
    with pytest.raises(InputError, match=r"steps 50 .. None: the trace has 12"):
        export(workload, "csv", tmp_path / "t", selected(first=50))
    everything = selected(tier=DRAM, hbm_bytes=1 << 40)
    with pytest.raises(InputError, match="none of these steps' blocks lie in the chosen tier"):
        export(workload, "csv", tmp_path / "t", everything)
    with pytest.raises(InputError, match="cannot be written"):
        export(workload, "csv", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert set(FORMATS) >= {"ramulator", "dramsim3", "dramsys", "gem5", "csv"}
