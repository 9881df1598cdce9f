"""`hmsim.memory.measure`: what a requester gets, held against Little's law, the link and the pins."""

from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from hmsim.config.base import preset_names
from hmsim.config.system import SystemSpec, load_system, with_preset
from hmsim.errors import InputError
from hmsim.memory.measure import measure

GRACE = "gh200-96gb-120gb"


def changed(name, **tables):
    data = dict(with_preset(name))
    for key, value in tables.items():
        data[key] = data[key] | value if isinstance(value, dict) else value
    return SystemSpec.model_validate(data)


def test_few_blocks_get_what_littles_law_says():
    system = load_system(GRACE)
    for on in ("hbm", "dram"):
        one = measure(system, on=on, blocks=1)
        many = measure(system, on=on, blocks=8)
        assert one.limiter == many.limiter == "in_flight"
        assert many.bandwidth_GBps == pytest.approx(8 * one.bandwidth_GBps, rel=0.05)
        flight = one.bandwidth_GBps * (one.latency_ns + system.gpu.issue * 1e9)
        assert flight == pytest.approx(system.gpu.block_bytes, rel=0.01)


def test_bandwidth_grows_with_blocks_and_ends_at_all_of_them():
    system = load_system(GRACE)
    seen = [measure(system, blocks=n).bandwidth_GBps for n in (4, 16, 64, 256, 4096)]
    assert all(low < 1.02 * high for low, high in pairwise(seen))
    assert seen[-1] == measure(system).bandwidth_GBps


def test_latency_grows_with_load():
    system = load_system(GRACE)
    seen = [
        measure(system, on="dram", source="cpu", load=load * 1e9) for load in (20, 150, 300, 420)
    ]
    assert [each.bandwidth_GBps for each in seen] == [20, 150, 300, 420]
    latencies = [each.latency_ns for each in seen]
    assert latencies == sorted(latencies)
    beyond = measure(system, on="dram", source="cpu", load=500e9)
    assert beyond.bandwidth_GBps == measure(system, on="dram", source="cpu").bandwidth_GBps
    assert "more than the memory sustains" in beyond.why


def test_the_link_carries_payload_beside_headers():
    system = load_system(GRACE)
    read = measure(system, on="dram")
    assert read.limiter == "link"
    assert read.bandwidth_GBps == pytest.approx(450 / (1 + 9 / 128))
    fast = changed(GRACE, link={"read_bandwidth": 1e15, "write_bandwidth": 1e15})
    assert measure(fast, on="dram").bandwidth_GBps > read.bandwidth_GBps
    small = measure(system, on="dram", pattern="gather", size=32)
    assert small.bandwidth_GBps <= 450 / (1 + 9 / 32)


def test_a_copy_is_the_slower_of_its_ends():
    system = load_system("gh200-96gb")
    there = measure(system, on="hbm", to="dram", pattern="copy")
    assert there.copied_GBps == pytest.approx(
        measure(system, on="dram", pattern="write").bandwidth_GBps
    )
    assert there.bandwidth_GBps == 2 * there.copied_GBps
    back = measure(system, on="dram", to="hbm", pattern="copy")
    assert back.copied_GBps == pytest.approx(measure(system, on="dram").bandwidth_GBps)
    within = measure(system, pattern="copy")
    assert within.bandwidth_GBps == 2 * within.copied_GBps


def test_small_blocks_read_whole_fetches():
    """656 bytes touch 11 or 12 fetches of 64: at most 656 of 11.5 * 64 bytes are of use."""
    system = load_system("h100-80gb")
    assert system.gpu.fetch == 64
    odd, whole, one, fetch = (
        measure(system, pattern="gather", size=size, over=8 << 30).share_of_pins
        for size in (656, 640, 1, 64)
    )
    assert odd < whole
    assert 64 * one == pytest.approx(fetch, rel=0.05)
    # A cache that fetches sectors alone wastes less of what is read, and what is written goes as it is.
    sectors = changed("h100-80gb", gpu={"fetch": 32})
    read, *written = (
        measure(each, pattern="gather", size=32, over=8 << 30, writes=share)
        for each, share in ((sectors, None), (sectors, 1.0), (system, 1.0))
    )
    assert 1.01 * 32 * one < read.share_of_pins < fetch
    assert written[0] == written[1]


def test_addresses_beyond_reach_are_looked_up_one_after_the_other():
    tlb = {"tlb_reach": 32 << 30, "tlb_miss": "1 ns"}
    system, free = changed("h100-80gb", gpu=tlb), changed("h100-80gb", gpu={"tlb_miss": 0})
    found = measure(system, pattern="gather", size=128, over=64 << 30)
    assert found.limiter == "translation"
    assert found.bandwidth_GBps == pytest.approx(128 / 0.5)
    for call in ({"over": 32 << 30}, {"over": 64 << 30, "size": 4096}):
        call = {"pattern": "gather", "size": 128} | call
        assert measure(system, **call) == measure(free, **call)
    assert measure(system) == measure(free)  # a stream goes page by page


def test_a_chase_waits_for_the_way_and_the_dram():
    system = load_system(GRACE)
    timing, clock = system.hbm.spec.timing, system.hbm.spec.tCK
    least = system.hbm.latency + (timing.nRCDRD + timing.nCL + timing.nBL) * clock
    latency = measure(system, pattern="chase").latency_ns * 1e-9
    assert least < latency < least + 1.5 * timing.nRP * clock
    assert measure(system, on="hbm", source="cpu", pattern="chase").latency_ns > 700


@pytest.mark.parametrize("name", preset_names("system"))
def test_no_system_beats_its_pins_or_its_link(name):
    system = load_system(name)
    for on, side in (("hbm", system.hbm), ("dram", system.dram)):
        for kind in ({"pattern": "read"}, {"writes": 0.5}):
            found = measure(system, on=on, **kind)
            assert 0 < found.share_of_pins < 1
            net = side.pin_bandwidth * (side.ecc / (side.ecc + 1) if side.ecc else 1)
            assert found.bandwidth_GBps <= net / 1e9
            assert found.why
            assert found.latency_ns > 0


def test_others_take_their_part():
    """Two sharers have half of the channels each; a background's bytes are missing."""
    alone = changed("gb200", dram={"sharers": 1})
    whole = measure(alone, on="dram", source="cpu").bandwidth_GBps
    shared = load_system("gb200")
    assert shared.dram.pin_bandwidth == alone.dram.pin_bandwidth / 2
    half = measure(shared, on="dram", pattern="write").bandwidth_GBps
    assert half == pytest.approx(
        measure(alone, on="dram", pattern="write").bandwidth_GBps / 2, rel=0.03
    )
    busy = changed("gb200", dram={"sharers": 1, "background": "109.2 GB/s"})
    rest = measure(busy, on="dram", source="cpu").bandwidth_GBps
    assert rest == pytest.approx(whole * (1 - 109.2e9 / alone.dram.pin_bandwidth))
    with pytest.raises(ValidationError, match="leave this GPU nothing"):
        changed("gb200", dram={"background": "400 GB/s"})
    with pytest.raises(ValidationError, match="32 channels do not divide among 5"):
        changed("gb200", dram={"sharers": 5})


def test_one_memory_is_measured_as_its_asker_sees_it():
    system = load_system("gb10")
    gpu = measure(system, on="hbm").bandwidth_GBps
    assert measure(system, on="dram").bandwidth_GBps == gpu
    assert measure(system, on="dram", to="hbm", pattern="copy") == measure(system, pattern="copy")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"on": "hbn"}, "on: 'hbn'; did you mean 'hbm'"),
        ({"source": "tpu"}, "from: 'tpu'"),
        ({"pattern": "reed"}, "did you mean 'read'"),
        ({"to": "dram"}, "only a copy"),
        ({"pattern": "copy", "to": "dram", "load": 1e9}, "neither --writes nor --load"),
        ({"size": 64}, "pieces are of gather and chase"),
        ({"pattern": "gather", "size": 0}, "bytes: 0 is outside"),
        (
            {"pattern": "gather", "over": 1 << 50},
            "over: 1125899906842624 is outside 1, a piece, to",
        ),
        (
            {"pattern": "gather", "size": 4096, "over": 4095},
            "over: 4095 is outside 4096, a piece, to",
        ),
        ({"over": 1 << 30}, "over: pieces of a gather lie in a part of memory; a read has none"),
        ({"pattern": "gather", "size": 1 << 25}, "16 MiB at most"),
        ({"pattern": "chase", "size": 8192}, "4096 bytes at most"),
        ({"pattern": "chase", "writes": 0.5}, "a chase only reads"),
        ({"pattern": "chase", "blocks": 2}, "one load in flight"),
        ({"writes": 1.5}, "writes: 1.5 is outside"),
        ({"blocks": 0}, "blocks: 0 is outside"),
        ({"blocks": 1, "load": 1e9}, "not both"),
        ({"blocks": 1, "source": "cpu"}, "the GPU's"),
        ({"load": -1.0}, "load: -1.0 must be above zero"),
    ],
)
def test_calls_that_make_no_sense(call, said):
    with pytest.raises(InputError, match=said):
        measure(load_system("gh200-96gb"), **call)


def test_systems_that_lack_what_is_asked_for():
    with pytest.raises(InputError, match="no table gpu"):
        measure(load_system("gh200-paper"), blocks=2)
    with pytest.raises(InputError, match="no table cpu"):
        measure(load_system("h100-80gb"), source="cpu")


def test_it_is_the_same_every_time():
    system = load_system("h200")
    first = measure(system, pattern="gather", size=4096)
    assert first == measure(system, pattern="gather", size=4096)
    assert np.isfinite(first.bandwidth_GBps)
