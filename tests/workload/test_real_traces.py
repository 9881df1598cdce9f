"""The committed traces of a real model: legal, of their budget, and with their provenance."""

import json
from pathlib import Path

import numpy as np
import pytest

from hmsim.store.trace import TraceFile
from hmsim.workload.capture.session import sidecar_of

TRACES = sorted((Path(__file__).parents[2] / "workloads/real").glob("*.h5"))


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_a_trace_is_legal_and_says_where_it_comes_from(path):
    assert path.stat().st_size < 1 << 20
    said = json.loads(sidecar_of(path).read_text())
    file, rule = TraceFile(path), said["rule"]
    (reads,) = {
        int(count) for slab in file.slabs() for count in np.unique(np.diff(slab.read_offset))
    }
    assert reads * rule["block_tokens"] == rule["budget"]
    assert file.header.tokens_per_block == rule["block_tokens"]
    assert file.header.block_bytes == 768 * rule["block_tokens"]
    assert file.steps == 30 * said["decoded_tokens"]
    assert said["model_licence"] == "apache-2.0"
    for values in said["mass_by_layer"].values():
        assert len(values) == 30
        assert all(0 <= value <= 1 for value in values)


def test_there_are_two_texts_and_three_rules():
    names = {tuple(path.stem.split("-", 1)) for path in TRACES}
    assert {rule for _, rule in names} == {"pages-1024", "quest-1024", "tokens-64"}
    assert {text for text, _ in names} == {"persuasion", "argparse"}
    assert len(TRACES) == 6
