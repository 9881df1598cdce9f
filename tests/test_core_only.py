"""An installation without extras: what needs one says so in a line, everything else works."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hmsim
from tests.sweep.toy_sweep import TEXT

# Python runs this as it starts, in worker processes too.
ABSENT = """
import sys

EXTRAS = {"xarray", "h5netcdf", "pandas", "pyarrow", "dask", "distributed", "shtab", "torch",
          "transformers", "mkdocs", "IPython"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
CALLS = """
import contextlib, io, json
import hmsim
from hmsim.cli import main
from hmsim.errors import InputError

told = {}

def call(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(words))
    told[" ".join(words[:4])] = [code, err.getvalue()]

def python(name, function):
    try:
        function()
        told[name] = [0, ""]
    except InputError as error:
        told[name] = [2, str(error)]

if __name__ == "__main__":
    call("run", "run.toml", "-o", "run.h5", "--set", "output.figure=run.png")
    call("info", "run.h5")
    call("info", "run.h5", "--bandwidth")
    call("plot", "run.h5", "--kind", "split", "-o", "split.png")
    call("sweep", "sweep.toml", "-o", "out", "--jobs", "1")
    call("workload", "info", "run.toml")
    call("bound", "run.toml")
    call("presets", "qwen3-8b")
    call("schema")
    call("plot", "out", "--kind", "sweep-line", "-o", "line.png", "--x", "sparsity")
    call("report", "out", "-o", "report.html")
    call("sweep", "sweep.toml", "-o", "more", "--jobs", "1", "--parquet")
    call("sweep", "sweep.toml", "-o", "afar", "--scheduler", "tcp://127.0.0.1:1")
    call("--print-completion", "bash")
    result = hmsim.run("run.toml", progress=False)
    python("numbers", lambda: (result.totals, result.plot.split()))
    python("to_dataframe", result.to_dataframe)
    python("to_xarray", result.to_xarray)
    python("open_sweep", lambda: hmsim.open_sweep("out"))
    python("run_sweep", lambda: hmsim.run_sweep("sweep.toml", "third", jobs=1))
    print(json.dumps(told))
"""
RUN = """
system = "gh200-paper"
workload = { model = "llama-3.1-8b-paper", tokens = [40, 44], layers = 2 }
policies = { names = ["static", "reactive"] }
replay = { fidelity = "analytic" }
bound = { method = "split" }
"""
NEEDS = {
    "plot out --kind sweep-line": "hmsim[xarray]",
    "report out -o report.html": "hmsim[xarray]",
    "sweep sweep.toml -o more": "hmsim[parquet]",
    "sweep sweep.toml -o afar": "hmsim[cluster]",
    "--print-completion bash": "hmsim[completion]",
    "to_dataframe": "hmsim[xarray]",
    "to_xarray": "hmsim[xarray]",
    "open_sweep": "hmsim[xarray]",
    "run_sweep": "hmsim[xarray]",
}


@pytest.mark.slow
def test_what_needs_an_extra_names_it_and_the_rest_works(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    (tmp_path / "calls.py").write_text(CALLS)
    (tmp_path / "run.toml").write_text(RUN)
    (tmp_path / "sweep.toml").write_text(TEXT.replace('["8 GB", "16.001 GB"]', '["16.001 GB"]'))
    home = str(Path(hmsim.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "calls.py"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), home])},
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert set(NEEDS) < set(told)
    for name, (code, said) in told.items():
        if name in NEEDS:
            assert code == 2, name
            assert NEEDS[name] in said
            assert said.count("\n") <= 1
        else:
            assert code == 0, (name, said)
    assert not (tmp_path / "more").exists()
