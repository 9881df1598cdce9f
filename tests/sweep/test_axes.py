"""Axes of every kind, and what is wrong with wrong ones."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmsim.config.base import load
from hmsim.config.sweep import AxisSpec
from hmsim.errors import InputError
from hmsim.sweep.axes import expand


def axis(name="a", **spec):
    return expand({name: load(AxisSpec, spec, "axis")}, "file")[0]


def values(**spec):
    return [row[0] for row in axis(**spec).values]


def test_list_keeps_what_is_written():
    assert values(key="x.y", values=["24 GB", 3, 0.5]) == ["24 GB", 3, 0.5]


def test_range_by_step_includes_its_end():
    assert values(range={"from": 0.1, "to": 0.3, "step": 0.1}) == [0.1, 0.2, 0.3]
    assert values(range={"from": 3, "to": 1, "step": -1}) == [3, 2, 1]
    assert values(range={"from": 1, "to": 2.5, "step": 1}) == [1, 2]


def test_quantities_keep_their_unit_for_the_key_to_check():
    assert values(range={"from": "1 GB", "to": "2 GB", "count": 3}) == [
        "1000000000 B", "1500000000 B", "2000000000 B",
    ]  # fmt: skip
    assert values(log={"from": "100 GB/s", "to": "400 GB/s", "count": 3}) == [
        "100000000000 B/s", "200000000000 B/s", "400000000000 B/s",
    ]  # fmt: skip


def test_rounded_range_has_each_number_once():
    assert values(log={"from": 1, "to": 8, "count": 16, "round": True}) == list(range(1, 9))


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.integers(1, 20))
def test_counted_ranges_run_from_end_to_end(start, stop, count):
    for kind in ("range", "log"):
        found = values(**{kind: {"from": start, "to": stop, "count": count}})
        assert len(found) <= count
        assert math.isclose(found[0], start, rel_tol=1e-9)
        if count > 1 and len(found) > 1:
            assert math.isclose(found[-1], stop, rel_tol=1e-9)


def test_zip_moves_its_keys_together():
    made = axis(zip={"workload.seed": [1, 2], "system": ["gh200-paper", "gh200-96gb"]})
    assert made.changes(1) == {"workload.seed": 2, "system": "gh200-96gb"}


def test_several_keys_take_one_value():
    assert axis(key=["a.b", "a.c"], values=[7]).changes(0) == {"a.b": 7, "a.c": 7}


@pytest.mark.parametrize("kind", ["latin_hypercube", "sobol"])
def test_designs_fill_the_box_and_repeat(kind):
    over = {"x": {"from": 0, "to": 8}, "y": {"from": 1, "to": 100, "log": True}}
    made = axis(**{kind: {"points": 8, "seed": 3, "over": over}})
    again = axis(**{kind: {"points": 8, "seed": 3, "over": over}})
    assert made == again
    assert made.keys == (("x",), ("y",))
    # One point in each eighth of every side: what a stratified design promises.
    assert sorted(math.floor(x) for x, _ in made.values) == list(range(8))
    assert sorted(math.floor(8 * math.log(y, 100)) for _, y in made.values) == list(range(8))


def test_rounded_design_keeps_its_length():
    over = {"n": {"from": 1, "to": 3, "round": True}}
    assert len(axis(latin_hypercube={"points": 9, "over": over}).values) == 9


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "give one of values, range"),
        ({"values": [1], "range": {"from": 1, "to": 2, "count": 2}}, "give one of"),
        ({"values": []}, "empty"),
        ({"zip": {"a": [1, 2], "b": [1]}}, "one length"),
        ({"range": {"from": 1, "to": 2}}, "give count or step"),
        ({"range": {"from": 1, "to": 2, "step": -1}}, "does not lead"),
        ({"range": {"from": "1 GB", "to": "many", "count": 2}}, "no number"),
        ({"log": {"from": 0, "to": 2, "count": 2}}, "above zero"),
        ({"log": {"from": 1, "to": 2, "cuont": 2}}, "did you mean 'count'"),
        ({"key": "x", "sobol": {"points": 2, "over": {"x": {"from": 1, "to": 2}}}}, "leave out"),
        ({"key": "policies.names", "values": [["static", "reactive"]]}, "one policy's name"),
    ],
)
def test_wrong_axes(spec, said):
    with pytest.raises(InputError, match=said):
        axis(**spec)


def test_two_axes_over_one_key():
    spec = load(AxisSpec, {"key": "x.y", "values": [1]}, "axis")
    with pytest.raises(InputError, match=r"x\.y is on axis a already"):
        expand({"a": spec, "b": spec}, "file")


def test_names_that_a_dataset_needs():
    with pytest.raises(InputError, match="taken"):
        axis("gap", key="x.y", values=[1])


@pytest.mark.parametrize("name", [".", "", "a/b", "..", "a.", "a b", "gap", "workload_steps", "$"])
def test_names_that_no_axis_can_have(name):
    with pytest.raises(InputError, match="axes"):
        expand({name: AxisSpec(key="workload.seed", values=[1, 2])}, "s")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"range": {"from": "17 GB/s", "to": "30 GHz", "count": 2}}, "do not measure the same"),
        ({"range": {"from": 0, "to": 1e300, "step": 1e-300}}, "at most"),
        ({"range": {"from": 0, "to": "inf GB", "count": 2}}, "no number"),
        ({"log": {"from": "1 s", "to": "2 GB", "count": 2}}, "do not measure the same"),
    ],
)
def test_ranges_that_make_no_sense(spec, said):
    with pytest.raises(InputError, match=said):
        expand({"a": AxisSpec.model_validate({"key": "k"} | spec)}, "s")
