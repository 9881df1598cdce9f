"""Energy from currents and command counts, held against what was published and measured."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from hmsim.config.base import load, preset, preset_names
from hmsim.config.enumerations import CASES, CAUSES
from hmsim.config.memory import LinkSpec, MemorySpec, load_memory
from hmsim.config.system import load_system
from hmsim.errors import InputError
from hmsim.memory import energy
from hmsim.memory.device import Extents, Memory, MemoryConfig

# An H200's memory rail: bytes/s read and written, whether data are random, watts of the rail while
# nothing is moved, and meanwhile.
READINGS = {
    "read of random data": (4510.6e9, 0.0, "random", 45.0, 255.2),
    "triad of random data": (4132.7e9 * 2 / 3, 4132.7e9 / 3, "random", 45.0, 222.5),
    "read of zeros": (4519.9e9, 0.0, "static", 42.2, 226.7),
}
H200 = MemoryConfig(load_memory("hbm3e-6400"), channels=96, interleave=2048)


def pJ_per_bit(joules, spec):
    return joules[0] / (8 * spec.organization.burst_bytes) * 1e12


@pytest.mark.parametrize("name", preset_names("memory"))
def test_every_preset_has_currents_with_sources(name):
    spec = load_memory(name)
    assert len(spec.energy.source) > 40
    for values in energy.commands(spec):
        assert values[1] <= values[0] <= values[2]
        assert values[1] >= 0


def test_an_activation_of_hbm2_is_that_of_both_sources():
    joules = energy.commands(load_memory("hbm2-1200")).activation_J[0]
    assert joules == pytest.approx(0.95e-9, rel=0.05)
    assert joules == pytest.approx(0.909e-9, rel=0.05)


def test_what_sources_derive_from_the_same_currents():
    spec = load_memory("hbm3e-6400")
    static, random = energy.commands(spec, "static"), energy.commands(spec, "random")
    assert pJ_per_bit(static.read_J, spec) == pytest.approx(2.6, abs=0.05)
    assert pJ_per_bit(random.read_J, spec) == pytest.approx(4.3, abs=0.05)
    assert pJ_per_bit(static.write_J, spec) == pytest.approx(1.7, abs=0.05)
    assert pJ_per_bit(random.write_J, spec) == pytest.approx(2.8, abs=0.05)
    low, high = random.activation_J[1:]
    assert low == pytest.approx(0.8e-9, rel=0.05)
    assert high == pytest.approx(1.7e-9, rel=0.05)
    for name in ("lpddr5-6400", "lpddr5x-8533"):
        spec = load_memory(name)
        found = energy.commands(spec)
        bits = 256e-12
        assert found.read_J[2] / bits == pytest.approx(3.1, abs=0.05)
        assert found.write_J[2] / bits == pytest.approx(2.0, abs=0.05)
        assert found.read_J[1] / found.read_J[2] == pytest.approx(0.6, abs=0.01)
        assert found.write_J[1] / found.write_J[2] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("name", READINGS)
def test_readings_of_an_h200(name):
    read, write, data, idle_W, busy_W = READINGS[name]
    found = energy.of_bytes(H200, 1 << 24, data)
    power = found.read * read + found.write * write + found.power
    assert power[0].sum() == pytest.approx(busy_W, rel=0.10)
    assert power[1].sum() < busy_W < power[2].sum()
    idle = energy.energy(H200, _counts(refreshes=round(192 / 3.9e-6)), 1.0, data)
    assert idle[0].sum() == pytest.approx(idle_W, rel=0.15)


def _counts(**some):
    return dict.fromkeys(("activations", "reads", "writes", "refreshes"), 0) | some


def test_causes_are_sums_over_commands():
    config = MemoryConfig(load_memory("hbm3-6400"), channels=3)
    each = energy.commands(config.spec)
    found = energy.energy(config, _counts(activations=5, reads=7, writes=11, refreshes=13), 1e-6)
    named = energy.as_dict(found)
    assert found.shape == (len(CASES), len(CAUSES))
    assert named["activation"] == pytest.approx(5 * each.activation_J[0])
    assert named["read"] == pytest.approx(7 * each.read_J[0])
    assert named["write"] == pytest.approx(11 * each.write_J[0])
    assert named["io"] == pytest.approx(18 * each.io_J[0])
    assert named["refresh"] == pytest.approx(13 * each.refresh_J[0])
    assert named["background"] == pytest.approx(6e-6 * each.open_W[0])
    assert named["link"] == 0.0


def test_rows_that_are_closed_again_count_as_open_for_tras():
    spec = load_memory("hbm3-6400")
    each = energy.commands(spec)
    closed = MemoryConfig(spec, row_policy="closed:4")
    few = energy.as_dict(energy.energy(closed, _counts(activations=1), 1e-3))["background"]
    active = spec.timing.nRAS * spec.tCK
    assert few == pytest.approx(2e-3 * each.closed_W[0] + active * (each.open_W - each.closed_W)[0])
    many = energy.as_dict(energy.energy(closed, _counts(activations=10**6), 1e-3))["background"]
    assert many == pytest.approx(2e-3 * each.open_W[0])


def test_bank_refreshes_of_a_whole_round_take_what_one_of_all_banks_does():
    spec = load_memory("lpddr5x-8533")
    joules = [
        energy.as_dict(energy.energy(MemoryConfig(spec, refresh=how), _counts(refreshes=n), 1.0))
        for how, n in (("all-bank", 1), ("per-bank", 16))
    ]
    assert joules[0]["refresh"] == pytest.approx(joules[1]["refresh"])
    assert energy.of_bytes(MemoryConfig(spec, refresh="none"), 64).power[0, 4] == 0.0


def test_rows_of_an_extent_follow_from_the_map():
    spec = load_memory("hbm3-6400")
    row = spec.organization.columns * spec.organization.burst_bytes
    in_rows = "Co5 Bg2 Pc1 Si1 Ba2 Ro14"
    whole = MemoryConfig(spec, channels=3, mapping=in_rows, interleave=row)
    assert energy.opened_rows(whole, row) == pytest.approx(1 / row)
    assert energy.opened_rows(whole, 10 * row) == pytest.approx(1 / row)
    assert energy.opened_rows(whole, row // 4) == pytest.approx(4 / row)
    spread = MemoryConfig(spec, channels=3)  # burst by burst over bank groups and buses
    assert energy.opened_rows(spread, 32) == pytest.approx(1 / 32)


@pytest.mark.parametrize("name", ["gh200-96gb", "gh200-144gb", "gb200", "h200"])
@pytest.mark.parametrize("side", ["hbm", "dram"])
def test_rows_of_an_extent_are_those_that_the_engine_opens(name, side):
    """Each system's own map: extents that follow one another, each through empty channels."""
    config = MemoryConfig.of(getattr(load_system(name), side))
    config = replace(config, refresh="none", ecc=0, taken=0.0)
    size, extents, opened = 1 << 18, 8, 0
    for i in range(extents):
        memory = Memory(config, window=64, posted_writes=False)
        each = Extents(*(np.array([value]) for value in (i * size, size, 0)))
        _, counts = memory.replay_apart(each, 0, 64, 0)
        opened += counts["activations"]
    found = energy.opened_rows(config, size) * size
    assert found == pytest.approx(opened / extents, rel=0.15)


def test_a_link_carries_headers_too():
    sizes = {"payload_bytes": 64, "header_bytes": 8, "write_header_bytes": 32}
    rates = {"read_bandwidth": "450 GB/s", "write_bandwidth": "450 GB/s"}
    link = load(LinkSpec, {"source": "made up"} | sizes | rates, "link")
    read, write = energy.link_of_bytes(link)
    assert read[0] == pytest.approx(1.3e-12 * 8 * 80 / 64)
    assert write[0] == pytest.approx(1.3e-12 * 8 * 104 / 64)
    assert np.ptp(read) == 0.0


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("IDD0", ["20 mA", "10 mA"], "a range is [low, high], and low is above high"),
        ("IDD0", ["1 mA", "2 mA", "3 mA"], "write one, or a range"),
        ("IDD2N", "1 A", "IDD2N is above IDD3N"),
        ("IDD5", "1 mA", "IDD3N_all must be from IDD3N to IDD5"),
        ("VDD", "0 V", "energy.VDD"),
        ("io", "3 mA", "unit 'mA' does not measure joules/bit"),
        ("random_data", 0, "energy.random_data"),
    ],
)
def test_wrong_currents_are_refused_in_one_line(key, value, said):
    data = deepcopy(preset("memory", "hbm3-6400"))
    data["energy"][key] = value
    with pytest.raises(InputError) as error:
        load(MemorySpec, data, "memory x")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_without_currents_there_is_no_energy():
    spec = load_memory("hbm3-6400").model_copy(update={"energy": None})
    with pytest.raises(InputError, match=r"has no table \[energy\]"):
        energy.commands(spec)
    with pytest.raises(InputError, match="did you mean 'static'"):
        energy.commands(load_memory("hbm3-6400"), "statik")
