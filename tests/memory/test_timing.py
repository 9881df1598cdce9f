import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from hmsim.config.base import load, preset, preset_names
from hmsim.config.memory import LinkSpec, MemorySpec, load_memory
from hmsim.errors import InputError
from hmsim.memory.burst_state import OF_SCOPE, PRE_PB, T_ACT, T_RD, T_WR
from hmsim.memory.timing import COMMANDS, FOLLOWERS, NEVER, compile_timing, tick_seconds

REFERENCE = Path(__file__).parents[1] / "references/dram_reference.json"
LEVELS = {
    "Channel": lambda groups: np.zeros(groups, int),
    "PseudoChannel": lambda groups: np.arange(groups) * 2 // groups,
    "Sid": lambda groups: np.arange(groups) // 4,
    "Rank": lambda groups: np.zeros(groups, int),
    "BankGroup": lambda groups: np.arange(groups),
}


@pytest.mark.parametrize("name", preset_names("memory"))
def test_presets_load_and_compile(name):
    spec = load_memory(name)
    timing = compile_timing(spec)
    assert timing.banks == timing.groups * spec.organization.banks
    assert spec.channel_bandwidth > 0
    assert tick_seconds(spec) <= spec.tCK
    for part in (spec, spec.organization, spec.timing, spec.refresh):
        assert len(part.source) > 10


def test_pin_bandwidths_are_the_published_ones():
    peaks = {
        "hbm3-5200": 41.6e9,  # 6144 bit of it are 4.0 TB/s
        "hbm3-6400": 51.2e9,
        "hbm4-8000": 64e9,
        "lpddr5-6400": 12.8e9,
        "lpddr5x-8533": 17.066e9,
    }
    for name, peak in peaks.items():
        assert load_memory(name).channel_bandwidth == pytest.approx(peak, rel=1e-3)


@pytest.mark.parametrize(("standard", "name"), [("HBM3", "hbm3-6400"), ("LPDDR5", "lpddr5-6400")])
def test_every_constraint_of_the_reference_is_in_the_tables(standard, name):
    timing = compile_timing(load_memory(name))
    groups = timing.groups
    gap = timing.gap.reshape(len(COMMANDS), groups, len(FOLLOWERS), groups)
    seen = 0
    for rule in json.loads(REFERENCE.read_text())["devices"][standard]["constraints_ticks"]:
        rename = {"ACT1": "ACT"}
        before = {rename.get(name, name) for name in rule["preceding"]} & set(COMMANDS)
        after = {rename.get(name, name) for name in rule["following"]} & set(FOLLOWERS)
        if rule["window"] != 1 or (rule["sibling"] and rule["level"] == "Rank"):
            continue  # the window of four is nFAW; one rank has no siblings
        for c in map(COMMANDS.index, before):
            for f in map(FOLLOWERS.index, after):
                seen += 1
                if rule["level"] == "Bank":
                    assert timing.bank_gap[c, f] >= rule["ticks"]
                    continue
                node = LEVELS[rule["level"]](groups)
                related = np.equal.outer(node, node)
                if rule["sibling"]:
                    bus = LEVELS["PseudoChannel"](groups)
                    related = ~related & np.equal.outer(bus, bus)
                assert (gap[c, :, f, :][related] >= rule["ticks"]).all(), rule
    assert seen > 40


@pytest.mark.parametrize("name", preset_names("memory"))
def test_what_row_commands_but_activations_wait_for_is_of_their_scope(name):
    """The burst engine keeps one time for each scope where it keeps one for each bank group else;
    that commands share a bus, it minds elsewhere. And RD and WR wait for RD and WR, ACT does not."""
    timing = compile_timing(load_memory(name))
    shape = len(COMMANDS), timing.groups, len(FOLLOWERS), timing.groups
    scope = np.arange(timing.groups) * timing.scopes // timing.groups
    same = np.equal.outer(scope, scope)
    bus = timing.act_bus if timing.split_bus else NEVER
    for f in OF_SCOPE:
        gap = timing.gap.reshape(shape)[:, :, f]
        assert (gap[:, same] == gap[:, :1, 0]).all()
        assert (gap[:, ~same] <= bus).all()
    column = np.array([name in ("RD", "WR", "RDA", "WRA") for name in COMMANDS])
    of_column, of_row = timing.gap.reshape(shape)[column], timing.gap.reshape(shape)[~column]
    assert (of_column[:, :, T_ACT] == NEVER).all()
    assert (of_row[:, :, [T_RD, T_WR]] == NEVER).all()
    assert (timing.gap.reshape(shape)[PRE_PB, :, T_ACT] <= bus).all()


def test_a_few_distances_in_ticks():
    """HBM3: half CK, shifted by the buses' command lengths; LPDDR5: CK."""
    hbm = compile_timing(load_memory("hbm3-6400"))
    act, rd = COMMANDS.index("ACT"), FOLLOWERS.index("RD")
    assert hbm.bank_gap[act, rd] == 63
    assert hbm.read_latency == 44
    lpddr = compile_timing(load_memory("lpddr5-6400"))
    assert lpddr.bank_gap[act, rd] == 15
    assert lpddr.read_latency == 19


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("timing", "nRC", 60, "nRC = 60 is below nRAS + nRP"),
        ("timing", "nFAW", 2, "nFAW = 2 is below nRRDS"),
        ("timing", "nCCDL", 1, "nCCDS is above nCCDL"),
        ("timing", "nFAWs", 1, "unknown key; did you mean 'nFAW'?"),
        ("organization", "banks", 3, "banks = 3 must be a power of two"),
        ("refresh", "nREFI", 100, "leaves no time"),
        (None, "tCK", "0 ns", "a clock period of"),
        (None, "tCK", "5 GB", "does not measure"),
        (None, "protocol", "ddr", "'hbm' or 'lpddr'"),
    ],
)
def test_inconsistent_timing_sets_are_refused_in_one_line(part, key, value, said):
    data = deepcopy(preset("memory", "hbm3-6400"))
    (data[part] if part else data)[key] = value
    with pytest.raises(InputError) as error:
        load(MemorySpec, data, "memory x")
    assert said in str(error.value)
    assert str(error.value).startswith("memory x: ")
    assert "\n" not in str(error.value)


def test_lpddr_needs_its_own_keys():
    data = deepcopy(preset("memory", "lpddr5-6400"))
    del data["timing"]["nAAD"]
    with pytest.raises(InputError, match="nAAD"):
        load(MemorySpec, data, "memory x")


def test_a_link_refuses_zero_bandwidth():
    data = {"source": "x", "read_bandwidth": 0, "write_bandwidth": "450 GB/s"}
    with pytest.raises(InputError, match="read_bandwidth"):
        load(LinkSpec, data, "link")
