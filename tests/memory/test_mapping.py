import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsim.config.memory import load_memory
from hmsim.errors import InputError
from hmsim.memory.mapping import decode, parse

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
