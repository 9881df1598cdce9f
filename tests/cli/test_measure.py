"""`hmsim measure`: its object, and what it refuses."""

import pytest

from tests.cli.calls import done, refused, told

CALL = ("measure", "gh200-96gb-120gb")


def test_the_object_has_the_keys_of_the_contract(capsys):
    read = told(capsys, *CALL, "--on", "dram", "--blocks", 11)
    assert {"bandwidth_GBps", "latency_ns", "share_of_pins", "why"} <= set(read)
    assert "copied_GBps" not in read
    assert read["limiter"] == "in_flight"
    copy = told(capsys, *CALL, "--on", "dram", "--to", "hbm")
    assert copy["bandwidth_GBps"] == 2 * copy["copied_GBps"]


def test_people_read_why(capsys):
    text = done(capsys, *CALL, "--on", "dram")
    assert "why        the link carries 420.4 GB/s" in text


def test_set_changes_the_system(capsys):
    narrow = told(capsys, *CALL, "--on", "dram", "--set", "system.link.read_bandwidth=100GB/s")
    assert narrow["bandwidth_GBps"] == pytest.approx(100 / (1 + 9 / 128))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--on", "hbn"], "did you mean 'hbm'"),
        (["--pattern", "gathr"], "did you mean 'gather'"),
        (["--pattern", "gather", "--bytes", "x"], "--bytes x: 'x' is no quantity"),
        (["--load", "fast"], "--load fast: 'fast' is no quantity"),
        (["--load", "nan"], "load: nan must be above zero"),
        (["--from", "cpu", "--blocks", "2"], "thread blocks are the GPU's"),
        (["--set", "system.hbm.chanels=4"], "did you mean 'channels'"),
        (["--set", "system.dram.sharers=5"], "32 channels do not divide among 5"),
    ],
)
def test_what_it_refuses(capsys, options, said):
    assert said in refused(capsys, *CALL, *options)


def test_one_memory_has_nothing_to_place(capsys, tmp_path):
    run = tmp_path / "run.toml"
    run.write_text('system = "gb10"\n[workload]\nmodel = "gpt2"\ntokens = [64, 80]\n')
    assert "there is nothing to place" in refused(capsys, "run", run)
