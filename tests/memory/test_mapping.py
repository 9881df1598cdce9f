import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsim.config.memory import load_memory
from hmsim.config.system import load_system
from hmsim.errors import InputError
from hmsim.memory.address_trace import replay_trace
from hmsim.memory.device import Extents, Memory, MemoryConfig
from hmsim.memory.mapping import channel_of, decode, parse, turns

HBM3 = load_memory("hbm3-6400")
LPDDR5 = load_memory("lpddr5-6400")


def fields(spec, text, line):
    """Named fields of one burst."""
    bank, row, column = decode(parse(text, spec), np.array([line]))[:, 0].tolist()
    organization = spec.organization
    rest, ba = divmod(bank, organization.banks)
    rest, bg = divmod(rest, organization.bank_groups)
    pc, si = divmod(rest, organization.ranks)
    return {"Pc": pc, "Si": si, "Bg": bg, "Ba": ba, "Ro": row, "Co": column}


@pytest.mark.nojit
def test_a_bit_list_reads_from_the_low_bits_up():
    line = 0b11 | 1 << 2 | 0b10110 << 3 | 1 << 8 | 0b01 << 9 | 1234 << 11
    expected = {"Bg": 3, "Pc": 1, "Co": 0b10110, "Si": 1, "Ba": 1, "Ro": 1234}
    assert fields(HBM3, "Bg2 Pc1 Co5 Si1 Ba2 Ro14", line) == expected


def test_named_maps_are_their_bit_lists():
    lines = np.random.default_rng(0).integers(0, 1 << 25, 500)
    for name, text in (
        ("RoBaRaCoCh", "Co5 Pc1 Si1 Bg2 Ba2 Ro14"),
        ("ChRaBaRoCo", "Co5 Ro14 Ba2 Bg2 Si1 Pc1"),
    ):
        assert np.array_equal(decode(parse(name, HBM3), lines), decode(parse(text, HBM3), lines))


@given(st.integers(0, (1 << 25) - 1))
def test_mop4clxor_hashes_each_field_with_the_next_column_bits(line):
    plain = fields(HBM3, "Co2 Pc1 Si1 Bg2 Ba2 Co3 Ro14", line)
    column = plain["Co"]
    plain["Pc"] ^= column & 1
    plain["Si"] ^= column >> 1 & 1
    plain["Bg"] ^= column >> 2 & 3
    plain["Ba"] ^= column >> 4
    assert fields(HBM3, "MOP4CLXOR", line) == plain
    plain = fields(LPDDR5, "Co2 Bg2 Ba2 Co4 Ro16", line)
    column = plain["Co"]
    plain["Bg"] ^= column & 3
    plain["Ba"] ^= column >> 2 & 3
    plain["Ro"] ^= column >> 4
    assert fields(LPDDR5, "MOP4CLXOR", line) == plain


@given(st.permutations(["Bg2", "Pc1", "Co2", "Co3", "Si1", "Ba1^Ro", "Ba1", "Ro14"]))
def test_maps_are_bijections(tokens):
    lines = np.arange(1 << 12) * 8191 % (1 << 25)
    places = decode(parse(" ".join(tokens), HBM3), lines)
    assert len(np.unique(places, axis=1).T) == len(np.unique(lines))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Bg2 Pc1 Co5 Si1 Ba2", "Ro has 0 bits"),
        ("Bg2 Pc1 Co4 Si1 Ba2 Ro14", "Co has 4 bits, the memory needs 5"),
        ("Bg2 Pc1 Co5 Si1 Ba2 Ro15", "Ro has 15 bits"),
        ("Bg2^Bg Pc1 Co5 Si1 Ba2 Ro14", "not a bijection"),
        ("Bg2 Pc1 Co5 Si1 Ba2 Xx14", "unknown field 'Xx'"),
        ("bg2", "'bg2' is no field"),
        ("", "empty"),
    ],
)
def test_wrong_maps_say_what_is_wrong(text, said):
    with pytest.raises(InputError, match="mapping") as error:
        parse(text, HBM3)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


PLAIN = "Bg2 Pc1 Co5 Si1 Ba2 Ro14"
# A map of four channels, and the same burst as one of interleaved channels: channel, burst in it.
WHOLE = {
    "Ch2 " + PLAIN: lambda line: (line & 3, line >> 2),
    "Bg1 Ch2 Bg1 Pc1 Co5 Si1 Ba2 Ro14": lambda line: (line >> 1 & 3, line >> 3 << 1 | line & 1),
    PLAIN + " Ch2": lambda line: (line >> 25, line & (1 << 25) - 1),
    "Ch2^Ro@3 " + PLAIN: lambda line: (line & 3 ^ line >> 16 & 3, line >> 2),
    "Ch1^Bg@1 Bg2 Pc1 Co5 Si1 Ch1^Ro@1 Ba2 Ro14": lambda line: (
        line & 1 ^ line >> 2 & 1 ^ line >> 14 & 1 | (line >> 10 & 1 ^ line >> 15 & 1) << 1,
        line >> 11 << 9 | line >> 1 & 511,
    ),
}


@pytest.mark.parametrize("text", WHOLE)
@pytest.mark.parametrize("how", [{}, {"load": 0.5}])
def test_a_map_of_all_channels_is_its_bursts_in_their_channels(text, how):
    rng = np.random.default_rng(5)
    line = (rng.integers(0, 1 << 22, 800)[:, None] * 32 + np.arange(8)).ravel()
    write = np.repeat(rng.integers(0, 5, 800) == 0, 8).astype(np.int64)
    channel, inner = WHOLE[text](line)
    mapping = parse(text, HBM3, 4)
    assert np.array_equal(channel_of(mapping, line), channel)
    assert np.array_equal(decode(mapping, line), decode(parse(PLAIN, HBM3), inner))
    found = replay_trace((line * 32, write), "hbm3-6400", 4, text, **how)
    expected = replay_trace(((inner * 4 + channel) * 32, write), "hbm3-6400", 4, PLAIN, **how)
    assert replace(found, wall_s=0) == replace(expected, wall_s=0)


@given(st.permutations(["Ch1^Ro@2", "Ch1", "Bg2^Ch", "Pc1", "Co5", "Si1", "Ba2^Ro", "Ro14"]))
def test_maps_of_all_channels_are_bijections(tokens):
    lines = np.arange(1 << 12) * 32749 % (1 << 27)
    mapping = parse(" ".join(tokens), HBM3, 4)
    places = np.vstack([decode(mapping, lines), channel_of(mapping, lines)])
    assert len(np.unique(places, axis=1).T) == len(np.unique(lines))


def test_channels_apart_find_their_bursts():
    """Each channel on its own, as in a run: the map with Ch, and interleaving that comes to the same."""
    address = np.arange(40) * 8192
    extents = address, np.full(40, 640), (address // 8192 % 3 == 0).astype(np.int64)
    one, other = (
        Memory(MemoryConfig(HBM3, 4, text), window=16) for text in ("Ch2 " + PLAIN, PLAIN)
    )
    for sampled in (False, True):
        assert one.replay_apart(extents, 0, 16, 5, sampled) == other.replay_apart(
            extents, 0, 16, 5, sampled
        )


@pytest.mark.parametrize(
    ("channels", "interleave", "text", "said"),
    [
        (16, None, "Ch3 " + PLAIN, "Ch has 3 bits, 16 channels need 4"),
        (12, None, "Ch4 " + PLAIN, "Ch needs a power of two of channels: 12"),
        (4, 256, "Ch2 " + PLAIN, "interleave: 256 B: the map places the channel"),
        (4, None, "Ch2^Ch Bg2 Pc1 Co5 Si1 Ba2 Ro14", "not a bijection"),
    ],
)
def test_wrong_maps_of_all_channels(channels, interleave, text, said):
    with pytest.raises(InputError, match=said.replace("^", r"\^")) as error:
        MemoryConfig(HBM3, channels, text, interleave).check()
    assert "\n" not in str(error.value)


def test_rows_that_are_no_power_of_two_stay_on_top():
    rows = HBM3.organization.model_copy(update={"rows": 12288})
    spec = HBM3.model_copy(update={"organization": rows})
    assert MemoryConfig(spec, 4, "Ch2 " + PLAIN).check()
    with pytest.raises(InputError, match="Ro must be the last field: 12288 rows"):
        MemoryConfig(spec, 4, PLAIN + " Ch2").check()


def test_a_system_says_by_its_interleave_which_channel():
    side = load_system("gh200-96gb").hbm
    with pytest.raises(InputError, match="Ch: in a system interleave says which channel"):
        MemoryConfig.of(side.model_copy(update={"mapping": "Ch6 " + PLAIN}))


def test_named_maps_are_spread_over_channels_as_by_ramulator():
    from scripts.validate_memory import PRESET, stream

    with open(Path(__file__).parents[1] / "references/dram_channels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    streams = {}
    for row in rows:
        channels, kind = int(row["channels"]), row["kind"]
        if kind not in streams:
            streams[kind] = stream(kind, int(row["requests"]), channels)
        config = MemoryConfig(
            load_memory(PRESET[row["std"]]), channels, row["mapper"], int(row["interleave"])
        )
        memory = Memory(config)
        result = replay_trace(
            streams[kind], config.spec, channels, row["mapper"], config.interleave
        )
        tick = memory.tick_s
        assert round(result.seconds / tick, 3) == int(row["ticks"]), row
        latency = result.mean_read_latency_ns * 1e-9 / tick
        assert latency == pytest.approx(float(row["lat_ctrl_mean_ticks"]), abs=2e-5), row


@given(st.sampled_from([3, 32, 80, 96, 344]), st.integers(0, 1 << 20))
def test_a_hash_gives_each_channel_one_stripe_of_a_round(channels, rounds):
    turned = (np.arange(channels) + turns(rounds, channels)) % channels
    assert sorted(turned.tolist()) == list(range(channels))


@pytest.mark.parametrize("channels", [5, 80, 96, 344])
def test_a_hash_spreads_any_stride_over_the_channels(channels):
    """Strides that plain interleaving sends to one channel."""
    n = 400 * channels
    for step in (1, 2, 16, 1 << 10):
        rounds = np.arange(n) * step
        found = np.bincount(turns(rounds, channels), minlength=channels)
        assert found.max() < 1.35 * found.mean()
        assert found.min() > 0.65 * found.mean()


def test_a_map_with_any_number_of_channels_is_replayed_as_it_says():
    """Every burst of three channels, one by one: its channel, and its place there."""
    text = "Co2 Bg1 Ch Bg1 Pc1 Co3 Si1 Ba2^Ro Ro14"
    config = MemoryConfig(HBM3, 3, text, refresh="none")
    assert (config.stripe, config.hashed) == (256, True)
    memory = Memory(config, log=1 << 12)
    lines = np.random.default_rng(3).integers(0, 1 << 20, 700)
    for apart in (False, True):
        memory.reset()
        extents = Extents(lines * 32, np.full(len(lines), 32), lines * 0)
        if apart:
            memory.replay_apart(extents, 0, 1, 0)
        else:
            memory.replay_in_order(extents, lines[:0], 1)
        log = memory.commands()
        reads = log[log[:, 2] == 0]
        rounds, place = np.divmod(lines // 8, 3)
        channel = (place + turns(rounds, 3)) % 3
        own = rounds * 8 + lines % 8
        bank, row, _ = decode(parse("Co2 Bg2 Pc1 Co3 Si1 Ba2^Ro Ro14", HBM3), own)
        expected = np.stack([channel, bank, row, own], axis=1)
        seen = reads[:, [1, 3, 4, 5]]
        assert sorted(map(tuple, seen.tolist())) == sorted(map(tuple, expected.tolist()))


def test_such_a_map_is_wrong_where_it_says_the_channel_twice():
    for text, interleave, said in (
        ("Co2 Ch Bg2 Ch Pc1 Co3 Si1 Ba2 Ro14", None, "Ch is there twice"),
        ("Co2 Ch Bg2 Ch4 Pc1 Co3 Si1 Ba2 Ro14", None, "Ch is there twice"),
        ("Co2 Ch Bg2 Pc1 Co3 Si1 Ba2 Ro14", 256, "leave one out"),
        ("Co2 Ch Bg2 Pc1 Co3 Si1 Ba1 Ro14", None, "Ba has 1 bits"),
    ):
        with pytest.raises(InputError, match=said):
            MemoryConfig(HBM3, 6, text, interleave).check()
