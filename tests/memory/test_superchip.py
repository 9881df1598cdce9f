from dataclasses import replace

import numpy as np
import pytest

from hmsim.config.memory import LinkSpec, load_memory
from hmsim.config.run import resolve
from hmsim.errors import InputError
from hmsim.memory.address_trace import REASONS
from hmsim.memory.device import Extents, MemoryConfig
from hmsim.memory.superchip import Superchip
from hmsim.results import schema as store

NOTHING = Extents(*np.zeros((3, 0), np.int64))
LINK = LinkSpec(
    source="test",
    read_bandwidth=100e9,
    write_bandwidth=100e9,
    payload_bytes=64,
    header_bytes=8,
    write_header_bytes=32,
    latency=400e-9,
)


def chip(fidelity="burst", outstanding=1 << 20, threads=2, link=LINK):
    hbm = MemoryConfig(
        load_memory("hbm3-5200"), 8, interleave=512, refresh="per-bank", latency=2e-7
    )
    dram = MemoryConfig(load_memory("lpddr5-6400"), 10, interleave=512, refresh="per-bank")
    return Superchip(hbm, link, dram, outstanding, fidelity, threads)


def extents(n, size=4096, writes=0.0, seed=0):
    rng = np.random.default_rng(seed)
    address = rng.integers(0, 1 << 17, n) * size
    return Extents(address, np.full(n, size), (rng.random(n) < writes).astype(np.int64))


def test_bytes_are_conserved_and_the_slower_side_ends_the_step():
    hbm, dram = extents(300, writes=0.2), extents(100, writes=0.5, seed=1)
    step = chip().step(hbm, dram)
    assert step.seconds == max(step.hbm_s, step.dram_s)
    assert step.hbm_read_bytes + step.hbm_write_bytes == hbm.size.sum()
    assert step.dram_write_bytes == (dram.size * dram.write).sum()
    for ticks in (step.hbm_bus_ticks, step.dram_bus_ticks):
        assert min(ticks.values()) >= 0
        assert tuple(ticks) == tuple(REASONS) == store.REASONS
    touched = step.hbm_row_hits + step.hbm_row_misses
    assert touched <= hbm.size.sum() / 32
    assert step.hbm_activations <= touched


@pytest.mark.parametrize("fidelity", ["burst", "run"])
def test_no_step_beats_the_pins_or_the_link(fidelity):
    for size, writes in ((256, 0.0), (4096, 0.0), (4096, 1.0), (65536, 0.3)):
        total = 4 << 20
        traffic = extents(total // size, size, writes)
        machine = chip(fidelity)
        step = machine.step(traffic, traffic)
        peak = machine.peak
        assert step.hbm_s >= total / peak.hbm
        assert step.dram_s >= total / peak.dram
        assert step.dram_s >= step.dram_read_bytes / peak.link_read
        assert step.dram_s >= step.dram_write_bytes / peak.link_write


@pytest.mark.parametrize("fidelity", ["burst", "run"])
def test_the_parts_of_the_buses_time_add_up_to_the_step(fidelity):
    machine = chip(fidelity)
    for n, writes in ((300, 0.0), (300, 0.4), (0, 0.0), (2000, 1.0)):
        step = machine.step(extents(300, writes=0.2), extents(n, writes=writes))
        for ticks, memory in (
            (step.hbm_bus_ticks, machine._hbm.memory),
            (step.dram_bus_ticks, machine._dram.memory),
        ):
            assert min(ticks.values()) >= 0
            assert sum(ticks.values()) == round(step.seconds / memory.tick_s) * memory.buses
        assert step.dram_bus_ticks["data"] >= step.dram_read_bytes / 32 * 2


def test_the_link_limits_writes_by_their_headers():
    step = chip().step(NOTHING, extents(1000, writes=1.0))
    assert step.link_write_bytes == 1.5 * step.dram_write_bytes
    # The last byte leaves when the wire has carried them all, and takes the link's latency.
    assert step.dram_s == pytest.approx(step.link_write_bytes / 100e9 + 400e-9, rel=1e-12)
    assert step.dram_bus_ticks["link"] > 0


def test_few_bytes_in_flight_give_low_bandwidth():
    """Little's law, from the requester's limit and from the link's credits alike."""
    few = 16 << 10
    for machine in (
        chip(outstanding=few),
        chip(link=LINK.model_copy(update={"credits": few})),
    ):
        step = machine.step(NOTHING, extents(400))
        latency = machine.step(NOTHING, extents(1, 32)).dram_s
        assert step.dram_read_bytes / step.dram_s == pytest.approx(few / latency, rel=0.15)
        lost = step.dram_bus_ticks
        assert lost["in_flight_limit"] > sum(lost.values()) / 4


def test_unloaded_latency_is_the_fabric_and_the_dram():
    step = chip().step(extents(1, 32), NOTHING)
    timing = load_memory("hbm3-5200").timing
    own = (timing.nRCDRD + timing.nCL + timing.nBL) * load_memory("hbm3-5200").tCK
    assert step.seconds == pytest.approx(2e-7 + own, abs=3e-9)


def test_rows_stay_open_and_refresh_goes_on_from_step_to_step():
    machine = chip()
    one = extents(1, 512)
    first = machine.step(one, NOTHING)
    second = machine.step(one, NOTHING)
    assert first.hbm_activations > 0
    assert second.hbm_activations == 0
    machine.reset()
    assert machine.step(one, NOTHING) == first


def test_a_step_begins_where_the_one_before_it_ended():
    machine, by_hand = chip(), chip()._hbm
    now = 0.0
    for seed in range(4):
        traffic = extents(300, seed=seed)
        start = round(now / by_hand.memory.tick_s)
        ticks, _ = by_hand.memory.replay_apart(traffic, start, by_hand.window, by_hand.delay)
        step = machine.step(traffic, NOTHING)
        assert step.seconds == ticks * by_hand.memory.tick_s + by_hand.latency
        now += step.seconds


def test_the_same_for_any_number_of_threads():
    hbm, dram = extents(400, writes=0.3), extents(150, writes=0.3)
    results = []
    for threads in (1, 2, 5):
        machine = chip(threads=threads)
        results.append([machine.step(hbm, dram) for _ in range(3)])
    assert results[0] == results[1] == results[2]


def test_a_step_without_traffic_takes_no_time():
    assert chip().step(NOTHING, NOTHING).seconds == 0


def test_wrong_calls():
    with pytest.raises(InputError, match="fidelity"):
        chip("fast")
    with pytest.raises(InputError, match="outstanding"):
        chip(outstanding=0)


def test_a_gpu_of_two_has_half_of_the_channels():
    """As docs/memory.md says; `dram.bandwidth` and `dram.capacity` are its own, in the preset too."""
    run = {"system": "gb200", "workload": {"tokens": [64, 64]}}
    shared, alone = (
        resolve(run, ["system=gb200", *changes], "test").system.dram
        for changes in ([], ["system.dram.sharers=1"])
    )
    assert MemoryConfig.of(shared).channels * 2 == MemoryConfig.of(alone).channels == 32
    assert 2 * shared.pin_bandwidth == alone.pin_bandwidth
    assert shared.analytic_bandwidth == 256e9


@pytest.mark.parametrize("fidelity", ["burst", "run"])
def test_what_others_move_stretches_a_step(fidelity):
    dram = MemoryConfig(load_memory("lpddr5-6400"), 10, interleave=512, refresh="per-bank")
    hbm = MemoryConfig(load_memory("hbm3-5200"), 8, interleave=512)
    wide = LINK.model_copy(update={"read_bandwidth": 1e15, "write_bandwidth": 1e15, "latency": 0.0})
    seconds = []
    for taken in (0.0, 0.25):
        busy = Superchip(hbm, wide, replace(dram, taken=taken), 1 << 20, fidelity)
        step = busy.step(NOTHING, extents(2000))
        seconds.append(step.dram_s)
        assert step.dram_read_bytes / step.dram_s <= busy.peak.dram
        assert sum(step.dram_bus_ticks.values()) == round(step.seconds / 1.25e-9) * 10
    assert seconds[1] == pytest.approx(seconds[0] / 0.75, rel=1e-3)
