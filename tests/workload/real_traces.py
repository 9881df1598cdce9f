"""The public request traces themselves, for who has them; the default suite does not collect this.

    HMSIM_TRACES=FOLDER python -m pytest tests/workload/real_traces.py

FOLDER holds `mooncake_conversation_trace.jsonl` (Mooncake, the FAST'25 release) and
`azure_llm_conv_2023.csv` (Azure public dataset, AzureLLMInferenceTrace_conv.csv).
"""

import os
from pathlib import Path

import numpy as np
import pytest

from hmsim.config.base import load, read_toml
from hmsim.config.workload import WorkloadSpec
from hmsim.workload import open_workload
from hmsim.workload.requests import read_requests
from hmsim.workload.statistics import measure

FOLDER = Path(os.environ["HMSIM_TRACES"])
MOONCAKE = FOLDER / "mooncake_conversation_trace.jsonl"


def test_they_have_the_published_statistics():
    requests = read_requests(MOONCAKE)
    assert requests.prompt.size == 12031
    assert requests.prompt.mean() == pytest.approx(12035, abs=1)
    assert requests.output.mean() == pytest.approx(343, abs=1)
    assert sum(map(len, requests.hashes)) == 288_500
    assert read_requests(FOLDER / "azure_llm_conv_2023.csv").prompt.size == 19366


def test_the_chat_outgrows_hbm():
    """At least 64 sequences at once, KV beyond 96 GB less the weights, 200 decode steps or more."""
    table = read_toml(Path(__file__).parents[2] / "workloads/chat-real.toml")["workload"]
    table["requests"]["path"] = str(MOONCAKE)
    workload = open_workload(load(WorkloadSpec, table, "chat-real"))
    found = measure(workload)
    assert found.tokens >= 200
    assert np.diff(workload.schedule.active_offset).min() >= 64
    assert found.peak_blocks * found.block_bytes > 96e9 - workload.geometry.resident_bytes
