"""Names of points, and which of them one run computes together."""

import pytest

from hmsim.config.sweep import load_sweep
from hmsim.errors import InputError
from hmsim.sweep.coordinator import plan_of
from hmsim.sweep.points import tasks
from tests.sweep.toy_sweep import TEXT, write


def plan(tmp_path, text=TEXT):
    path = write(tmp_path, text)
    return plan_of(load_sweep(path), str(path))


def with_axes(axes: str) -> str:
    return TEXT[: TEXT.index("[axes.sparsity]")] + axes


def test_order_and_names(tmp_path):
    points = list(plan(tmp_path).points())
    assert [point.place for point in points] == [(i, j) for i in range(3) for j in range(2)]
    assert points[0].hash == points[4].hash != points[2].hash
    assert points[1].changes == {"workload.sparsity": 0.4, "system.hbm.capacity": "16.001 GB"}


def test_titles_and_spelling_of_units_do_not_name_a_point(tmp_path):
    first = next(plan(tmp_path).points())
    other = TEXT.replace('"8 GB"', "8e9").replace(
        "[base.workload]", '[base.workload]\ntitle = "another"'
    )
    assert next(plan(tmp_path, other).points()).hash == first.hash


def test_content_of_a_data_file_names_a_point(tmp_path):
    requests = tmp_path / "requests.csv"
    text = with_axes('[axes.seed]\nkey = "workload.seed"\nvalues = [1]\n')
    text = text.replace("tokens = [40, 44]", 'requests.path = "requests.csv"')
    requests.write_text("one")
    first = next(plan(tmp_path, text).points()).hash
    requests.write_text("two, another length")
    assert next(plan(tmp_path, text).points()).hash != first


def test_policies_share_a_run(tmp_path):
    axes = """
[axes.policy]
key = "policies.names"
values = ["unlimited", "static", "reactive"]

[axes.seed]
key = "workload.seed"
values = [1, 2]
"""
    groups = [tasks(group) for group in plan(tmp_path, with_axes(axes)).groups()]
    assert [len(group) for group in groups] == [1, 1]  # one run for each seed
    ((task,), _) = groups
    assert task.spec.policies.names == ["unlimited", "static", "reactive"]
    assert sorted(task.wanted.values()) == [[(0, "unlimited")], [(1, "static")], [(2, "reactive")]]


def test_another_place_of_the_prompt_is_another_run(tmp_path):
    axes = """
[axes.prompt]
key = "policies.prompt"
values = ["oldest", "scored"]
"""
    (group,) = plan(tmp_path, with_axes(axes)).groups()
    assert [task.spec.policies.prompt for task in tasks(group)] == ["oldest", "scored"]
    assert group[0].hash != group[1].hash


def test_one_policy_with_several_settings_gets_aliases(tmp_path):
    axes = """
[axes.rule]
key = "policies.options.authors-static.time_rule"
values = ["overlap", "serial"]
"""
    text = with_axes(axes).replace('"reactive"', '"authors-static"')
    (group,) = plan(tmp_path, text).groups()
    (task,) = tasks(group)
    assert len(task.spec.policies.names) == 3
    options = task.spec.policies.options
    assert sorted(each["time_rule"] for each in options.values()) == ["overlap", "serial"]
    assert all(
        [label for _, label in places] == ["static", "authors-static"]
        for places in task.wanted.values()
    )


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ('[axes.a]\nkey = "workload.sparsty"\nvalues = [0.5]', "did you mean 'sparsity'"),
        ('[axes.a]\nkey = "workload.sparsity"\nvalues = [0.5, 1.5]', "axes.a: workload.sparsity"),
        ('[axes.a]\nkey = "workload.kind.x"\nvalues = [1]', "not a table"),
        ('[axes.a]\nkey = "system"\nvalues = ["gh2000"]', "gh200"),
        ("[axes]", "axes"),
        (
            '[axes.a]\nkey = "system.hbm.capacity"\nrange = {from="17 GB/s", to="18 GB/s", count=2}',
            "does not measure bytes",
        ),
        ('[axes.a]\nkey = "workload.sparsity"\nvalues = [true]', "true is not a number"),
        ('[axes.a]\nkey = "policies.names"\nvalues = ["statc"]', "did you mean 'static'"),
        ('[axes.a]\nkey = "policies.options.reactive.window"\nvalues = [3]', "unknown option"),
    ],
)
def test_wrong_keys_are_found_before_anything_runs(tmp_path, axes, said):
    text = with_axes(axes).replace("[base.workload]", '[base.workload]\nkind = "churn"')
    with pytest.raises(InputError, match=said):
        plan(tmp_path, text)


def test_base_must_be_a_run(tmp_path):
    with pytest.raises(InputError, match="system"):
        plan(tmp_path, TEXT.replace('system = "gh200-paper"', ""))
