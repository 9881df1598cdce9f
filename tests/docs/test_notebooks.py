"""The tutorial notebook runs as people run it, without weights, and shows what its text says."""

import ast
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_from_real_attention_to_policy_gaps():
    notebook = nbformat.read(ROOT / "notebooks/real-attention.ipynb", as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    printed = notebook.cells[-2].outputs[0].text.splitlines()
    gaps = [
        {
            policy: float(gap.removesuffix(" %"))
            for policy, gap in ast.literal_eval(line[12:]).items()
        }
        for line in printed
    ]
    on_trace, on_spec = gaps
    assert on_trace["belady"] < on_trace["lfu"] < on_trace["reactive"]
    assert all(abs(on_trace[policy] - on_spec[policy]) < 3.5 for policy in on_trace)
