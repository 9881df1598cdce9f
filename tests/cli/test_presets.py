"""`hmsim presets`: what it prints is taken back as it is, and sizes as JSON."""

import json
import tomllib

import pytest

from hmsim.cli import main
from hmsim.config.base import load, preset_names
from hmsim.config.memory import MemorySpec
from hmsim.config.model import model
from hmsim.config.run import resolve
from hmsim.config.system import SystemSpec
from tests.cli.calls import done, refused

GLM = {
    "model_type": "glm4_moe", "hidden_size": 5120, "intermediate_size": 12288,
    "moe_intermediate_size": 1536, "num_hidden_layers": 92, "num_attention_heads": 96,
    "num_key_value_heads": 8, "head_dim": 128, "n_routed_experts": 160, "n_shared_experts": 1,
    "num_experts_per_tok": 8, "first_k_dense_replace": 3, "vocab_size": 151552,
    "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
WORKLOAD = """[workload]
layers = 2
block_tokens = 16
tokens = [64, 66]
sparsity = 0.5
"""


def config(folder, keys=GLM):
    path = folder / "config.json"
    path.write_text(json.dumps(keys))
    return str(path)


def weights(capsys, *arguments):
    assert main(["workload", "info", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["weight_bytes"]


def test_what_is_printed_is_taken_back_wherever_a_model_stands(tmp_path, capsys):
    path = config(tmp_path)
    assert main(["presets", "--from-hf", path]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "mine.toml").write_text(printed)
    spec = tmp_path / "spec.toml"
    found = []
    for text in (
        f"{WORKLOAD}[workload.model]\n{printed}",
        WORKLOAD + 'model = "mine.toml"\n',
        WORKLOAD + 'model = "config.json"\n',
        WORKLOAD + 'model = "glm-4.5"\n',
    ):
        spec.write_text(text)
        found.append(weights(capsys, str(spec)))
    assert len(set(found)) == 1
    spec.write_text(WORKLOAD)
    assert weights(capsys, str(spec), "--set", f"workload.model={tmp_path}/mine.toml") == found[0]


@pytest.mark.parametrize("name", preset_names("model"))
def test_every_preset_pasted_as_it_is(name, capsys):
    assert main(["presets", name]) == 0
    pasted = "[system]\npreset = 'gh200-96gb'\n" + WORKLOAD + "[workload.model]\n"
    run = resolve(tomllib.loads(pasted + capsys.readouterr().out), [], "pasted")
    assert run.workload.model == model(name)


def test_sizes_as_json(tmp_path, capsys):
    assert main(["presets", "--from-hf", config(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kv_bytes_per_token"] == 92 * 4096 == sum(told["kv_bytes_by_layer"])
    assert told["window_by_layer"] == [0] * 92
    assert told["state_bytes_per_sequence"] == 0
    assert told["parameters"] == pytest.approx(352.8e9, rel=1e-3)
    assert told["active_parameters"] == pytest.approx(32.85e9, rel=1e-3)
    assert told["resident_bytes"] == 2 * told["parameters"]
    assert told["weight_bytes_per_token"] == pytest.approx(2 * told["active_parameters"])
    assert told["warnings"] == told["refused"] == {}
    assert main(["presets", "gpt-oss-120b", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["weight_bytes_per_token"] / 36 == pytest.approx(138.9e6, rel=1e-3)
    assert told["window_by_layer"][:2] == [128, 0]
    assert main(["presets", "--json"]) == 0
    assert "gpt-oss-120b" in json.loads(capsys.readouterr().out)["model"]
    assert main(["presets", "hbm3-6400", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "hbm3-6400"


def test_what_is_in_doubt_and_what_is_refused_by_key(tmp_path, capsys):
    odd = config(tmp_path, GLM | {"kv_heads_of_some": 3})
    assert main(["presets", "--from-hf", odd, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["warnings"]) == ["kv_heads_of_some"]
    assert main(["presets", "--from-hf", odd]) == 0
    assert "kv_heads_of_some: 3: not understood" in capsys.readouterr().err
    strange = config(tmp_path, GLM | {"model_type": "unheard_of", "kv_heads_of_some": 3})
    assert main(["presets", "--from-hf", strange, "--json"]) == 2
    said = capsys.readouterr()
    assert list(json.loads(said.out)["refused"]) == ["kv_heads_of_some"]
    assert said.err.count("\n") == 1
    assert "kv_heads_of_some" in said.err
    assert main(["presets", "gpt2", "--from-hf", odd]) == 2


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("[wrokload]\nx = 1\n", "wrokload: unknown key"),
        ("[Workload]\nsparsity = 0.1\n", "Workload: unknown key"),
        ("[experts]\ncount = 160\n", "experts: unknown key"),
        ("[policies]\nnmaes = ['static']\n", "policies.nmaes: unknown key"),
        ("[system]\npreset = 'gh200-96gb'\nhbm.capcity = 3\n", "hbm.capcity: unknown key"),
        ("[workload.modle]\nlayers = 3\n", "modle: unknown key"),
    ],
)
@pytest.mark.parametrize("verb", ["info", "generate", "run"])
def test_stray_tables_and_keys_are_errors_in_every_command(tmp_path, capsys, extra, words, verb):
    spec = tmp_path / "spec.toml"
    system = "" if "[system]" in extra else "[system]\npreset = 'gh200-96gb'\n"
    spec.write_text(WORKLOAD + (system if verb == "run" else "") + extra)
    where = ["-o", str(tmp_path / "out.h5")] if verb == "generate" else []
    command = [verb] if verb == "run" else ["workload", verb]
    assert main([*command, str(spec), *where]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_every_preset_is_listed_in_a_line(capsys):
    lines = done(capsys, "presets").splitlines()
    names = [name for kind in ("system", "memory", "model") for name in preset_names(kind)]
    assert len(names) > 20
    for name in names:
        assert sum(line.split()[0] == name for line in lines) == 1, name


@pytest.mark.parametrize(("kind", "spec"), [("system", SystemSpec), ("memory", MemorySpec)])
def test_systems_and_memories_are_printed_as_what_reads_back(capsys, kind, spec):
    for name in preset_names(kind):
        assert load(spec, tomllib.loads(done(capsys, "presets", name)), name)


def test_mistakes(tmp_path, capsys):
    assert "did you mean 'gh200-paper'" in refused(capsys, "presets", "gh20-paper")
    assert "cannot be read" in refused(capsys, "presets", "--from-hf", tmp_path / "none.json")
    (tmp_path / "config.json").write_text("{")
    assert "JSON" in refused(capsys, "presets", "--from-hf", tmp_path / "config.json")
