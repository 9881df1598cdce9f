"""The recipe of docs/workloads.md that logs selections in vLLM, run against a stand-in for vLLM."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from hmsim.store.trace import TraceFile
from hmsim.workload.imports import import_file

PAGE = Path(__file__).parents[2] / "docs" / "workloads.md"
PREFILL = 9  # rows of a step that is no decoding


class Indexer:
    """As vLLM's: selects for each row; here the first, the last and the middle token."""

    def __init__(self, layer):
        self.k_cache = types.SimpleNamespace(
            prefix=f"model.layers.{layer}.self_attn.indexer.k_cache"
        )

    def forward(self, hidden, qr, positions, rotary):
        return np.stack([positions, positions // 2, 0 * positions, 0 * positions - 1], axis=1)


@pytest.mark.filterwarnings("ignore:.*the others are left out")
def test_the_recipe_for_vllm_logs_what_imports(tmp_path, monkeypatch):
    module = types.ModuleType("vllm.model_executor.models.deepseek_v2")
    module.Indexer = Indexer
    for name in ("vllm", "vllm.model_executor", "vllm.model_executor.models"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    code = PAGE.read_text(encoding="utf-8")
    code = code[code.index("import itertools, json, re") :].partition("```")[0]
    names = {}
    exec(code.replace("steps = 8,", "steps = 2,"), names)
    layers = [Indexer(layer) for layer in range(3)]
    for rows in ([0] * PREFILL, [10, 20], [11, 21]):
        for layer in layers:
            picked = layer.forward(None, None, np.array(rows), None)
            assert picked.shape == (len(rows), 4)
    names["log"].close()
    import_file(tmp_path / "selections.jsonl", None, tmp_path / "t.h5", {"model": "gpt2"})
    file = TraceFile(tmp_path / "t.h5")
    assert (file.steps, file.header.sequences) == (2 * 3, 2)
    (slab,) = file.slabs()
    first = slab.read_block[: slab.read_offset[1]]
    assert file.blocks.sequence[first].tolist() == [0, 0, 0, 1, 1, 1]
    assert file.blocks.position[first].tolist() == [0, 5, 10, 0, 10, 20]
