"""Malformed inputs, kills and a full disk against every command: `python scripts/attack.py`.

Prints how many were tried, held and failed, and each that failed; exit code 1 if any did. An input
holds if the command answers with one line and exit code 2 and leaves no file (or, where damage may
be harmless, with 0), without a traceback, a crash or a change of any input. A kill holds if what was
there before is whole, or what is new is; a full disk, if it is one line and nothing stays behind.

Half of the inputs and kills are the same every time, the other half are drawn anew; `--seeds N,M`
gives other halves, `--inputs` and `--kills` say how many in all. Commands run inside a process that
is started anew where an input crashes it.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

LONGEST = 120  # seconds that an input may take
FILES: dict[str, str] = {
    "run.toml": """
title = "an attack"
[system]
preset = "gh200-96gb"
hbm.capacity = "16.061 GB"
[workload]
model = "llama-3.1-8b"
layers = 2
block_tokens = 16
tokens = [256, 259]
sparsity = 0.9
drift = 0.1
reach = 0.9
seed = 3
[policies]
names = ["static", "lookahead"]
options.lookahead.window = 2
[replay]
fidelity = "analytic"
sample = 2
[bound]
method = "split"
gap = 0.0
""",
    "requests.toml": """
[workload]
model = "gpt2"
layers = 2
block_tokens = 16
[workload.requests]
batch = 4
steps = 8
step_time = "1 ms"
synthetic = { count = 6, rate = 2.0, prompt_median = 50, output_median = 10 }
""",
    "scores.toml": """
[workload]
model = "gpt2"
kind = "scores"
layers = 2
block_tokens = 4
tokens = [40, 47]
[workload.scores]
budget = 16
slow = 0.5
flicker = 0.5
recency = 0.3
""",
    "sweep.toml": """
base = "run.toml"
[axes.capacity]
key = "system.hbm.capacity"
range = { from = "16.07 GB", to = "16.08 GB", count = 2 }
""",
    "targets.toml": """
[workload]
model = "gpt2"
layers = 1
tokens = [40, 50]
[fit]
parameters = { sparsity = [0.2, 0.8] }
layers = 1
steps = 4
evaluations = 4
[targets]
overlap = 0.5
""",
    "plain.txt": "LD 0x40\nST 64\nLD 0x1f40\n" * 20,
    "dramsim3.txt": "0x40 READ 1\n0x80 WRITE 5\n",
    "dramsys.stl": "1: (64) read 0x40\n5: write 0x80\n",
    "csv.csv": "time_ps,op,address,size\n1,R,64,64\n5,W,128,32\n",
    "authors.csv": '2,0,"[0,1]"\n2,1,"[1]"\n3,0,"[0,2]"\n3,1,"[2]"\n',
    "mooncake.jsonl": '{"timestamp": 0, "input_length": 40, "output_length": 5}\n' * 4,
    "azure.csv": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,40,5\n",
    "vidur.csv": "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,40,5\n",
    "config.json": json.dumps({
        "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 100,
        "num_key_value_heads": 2, "intermediate_size": 256,
    }),
}  # fmt: skip
# Commands by the file that they read; OUT stands for a name that does not exist.
CALLS: dict[str, list[list[str]]] = {
    "run.toml": [
        ["run", "run.toml", "-o", "OUT.h5"],
        ["bound", "run.toml", "--method", "dual"],
        ["workload", "info", "run.toml"],
    ],
    "requests.toml": [
        ["workload", "generate", "requests.toml", "-o", "OUT.h5"],
        ["workload", "export", "requests.toml", "--to", "vidur", "-o", "OUT.csv"],
    ],
    "scores.toml": [["workload", "info", "scores.toml", "--json"]],
    "sweep.toml": [["sweep", "sweep.toml", "--dry-run"]],
    "targets.toml": [["workload", "calibrate", "targets.toml", "-o", "OUT.toml"]],
    "memory.toml": [["replay", "plain.txt", "--memory", "memory.toml"]],
    "plain.txt": [["replay", "plain.txt", "--memory", "hbm3-6400", "--commands", "OUT.csv"]],
    "dramsim3.txt": [["workload", "import", "dramsim3.txt", "--from", "dramsim3", "-o", "OUT"]],
    "dramsys.stl": [["workload", "import", "dramsys.stl", "--from", "dramsys", "-o", "OUT"]],
    "csv.csv": [["workload", "import", "csv.csv", "--from", "csv", "-o", "OUT"]],
    "gem5.bin": [["workload", "import", "gem5.bin", "--from", "gem5", "-o", "OUT"]],
    "authors.csv": [["workload", "import", "authors.csv", "--from", "authors", "-o", "OUT.h5"]],
    "mooncake.jsonl": [
        ["workload", "import", "mooncake.jsonl", "--from", "mooncake", "-o", "OUT.h5",
         "--set", "layers=1"],
    ],
    "azure.csv": [
        ["workload", "import", "azure.csv", "--from", "azure", "-o", "OUT.h5", "--set", "layers=1"],
    ],
    "vidur.csv": [
        ["workload", "import", "vidur.csv", "--from", "vidur", "-o", "OUT.h5", "--set", "layers=1"],
    ],
    "config.json": [["presets", "--from-hf", "config.json"]],
    "scores.npz": [
        ["workload", "import", "scores.npz", "--from", "matrix", "-o", "OUT.h5",
         "--set", "matrix.budget=16", "--set", "block_tokens=4"],
    ],
    "trace.h5": [
        ["workload", "info", "trace.h5"],
        ["bound", "trace.h5", "--system", "gh200-96gb"],
        ["workload", "export", "trace.h5", "--to", "csv", "-o", "OUT.csv"],
        ["plot", "trace.h5", "--kind", "reuse", "-o", "OUT.png"],
    ],
    "result.h5": [
        ["info", "result.h5"],
        ["info", "result.h5", "--json"],
        ["plot", "result.h5", "--kind", "timeline", "-o", "OUT.svg"],
        ["plot", "result.h5", "--kind", "bandwidth", "-o", "OUT.pdf"],
    ],
    "replay.json": [["plot", "replay.json", "--kind", "lost-cycles", "-o", "OUT.png"]],
    "swept/points.jsonl": [
        ["info", "swept"],
        ["plot", "swept", "--kind", "sweep-line", "-o", "OUT.png"],
        ["report", "swept", "-o", "OUT.html", "--quick"],
        ["sweep", "sweep.toml", "-o", "swept", "--resume", "--jobs", "1"],
    ],
    "swept/sweep.h5": [["info", "swept"], ["report", "swept", "-o", "OUT.md", "--markdown"]],
    "swept/sweep.toml": [["info", "swept"], ["report", "swept", "-o", "OUT.html"]],
}  # fmt: skip
NUMBERS = (  # keys of run.toml and beyond that hold a number, or a quantity
    "workload.layers", "workload.block_tokens", "workload.sparsity", "workload.drift",
    "workload.reach", "workload.seed", "workload.copies", "workload.index_bytes",
    "system.hbm.capacity", "system.hbm.bandwidth", "system.hbm.channels", "system.hbm.queue",
    "system.hbm.interleave", "system.hbm.latency", "system.link.read_bandwidth",
    "system.link.payload_bytes", "system.dram.write_queue", "system.outstanding", "replay.sample",
    "replay.outstanding", "bound.gap", "bound.time", "policies.options.lookahead.window",
)  # fmt: skip
NO_NUMBERS = (
    "true", "false", '"many"', '"3 parsecs"', "-1", "nan", "[1]", "{ a = 1 }", "1" + "0" * 30,
    "9" * 4400, '"1e5 GB GB"', '""', "1979-05-27", '"\\u0000"', "-inf", '"17 GB/s/s"',
)  # fmt: skip
CHOICES = (  # keys that hold one of a few words, or a description
    "workload.kind", "workload.model", "system.preset", "system.hbm.row_policy",
    "system.hbm.refresh", "system.hbm.mapping", "system.dram.memory", "replay.fidelity",
    "bound.method", "policies.names",
)  # fmt: skip
NO_CHOICES = ('"foo"', "3", "true", "[]", '""', "{ a = 1 }", "[[1]]", '["foo"]', "nan")
WRONG_CALLS = [
    line.split()
    for line in """
run run.toml --set systemx=1
run run.toml --set workload.sparsty=0.5
run run.toml --set =1
run run.toml --set policies.options.lookahaed.window=1
run run.toml --set policies.options.static.window=1
run run.toml --set policies.names=["static","static"]
run run.toml --policy subprocess:run
run run.toml --policy no.such:Thing
run run.toml --set policies.names=["subprocess:run"]
run run.toml --gap nan
run run.toml --gap -1
run run.toml --seed -1
run run.toml --seed 1e3
run run.toml --fidelity brust
run run.toml -o run.toml
run run.toml -o /dev/null
run run.toml -o .
run run.toml -o link.h5
run run.toml -o run.toml/x.h5
run run.toml -o OUT.png --plot OUT.png
run run.toml --plot OUT.bmp
run run.toml -o trace.h5 --set workload={trace="trace.h5"}
run none.toml
run /dev/zero
run swept
run trace.h5
run run.toml --set workload.layers=1000000000
run run.toml --set workload.tokens=[1,1000000000000]
run run.toml --set workload.copies=1000000000
workload generate requests.toml --set workload.requests.synthetic.count=1e9 -o OUT.h5
workload generate run.toml -o run.toml
workload generate run.toml -o trace.h5/x
workload generate run.toml --set seed=3 -o OUT.h5
workload generate run.toml --set foo.bar=3 -o OUT.h5
workload generate trace.h5 --set workload.seed=3 -o OUT.h5
workload generate run.toml -o /dev/full
workload export trace.h5 --to csv -o trace.h5
workload export trace.h5 --to csv -o OUT.csv --rate -1
workload export trace.h5 --to csv -o OUT.csv --rate 0
workload export trace.h5 --to csv -o OUT.csv --rate 5kg
workload export trace.h5 --to csv -o OUT.csv --rate inf
workload export trace.h5 --to csv -o OUT.csv --every -1
workload export trace.h5 --to csv -o OUT.csv --every 0
workload export trace.h5 --to csv -o OUT.csv --steps 5
workload export trace.h5 --to csv -o OUT.csv --steps 900:901
workload export trace.h5 --to cvs -o OUT.csv
workload export trace.h5 --to vidur -o OUT.csv
workload export trace.h5 --to csv -o OUT.csv --policy os:system
workload export trace.h5 --to csv -o OUT.csv --set systemx=1
workload export run.toml --to csv -o taken
workload import plain.txt --from ramulator -o plain.txt
workload import plain.txt --from ramulator -o OUT --set foo=1
workload import authors.csv --from authors -o OUT.h5 --set foo=1
workload import authors.csv --from authors -o OUT.h5 --set model=3
workload import mooncake.jsonl --from mooncake -o OUT.h5 --set requests=3
workload import scores.npz --from matrix -o OUT.h5 --set matrix.dataset=5
workload import plain.txt --from ramulatr -o OUT
workload calibrate targets.toml -o targets.toml
workload calibrate run.toml
bound trace.h5
bound trace.h5 --system gh200-96gb --gap nan
bound trace.h5 --system gh200-96gb --time -1
bound trace.h5 --system gh200-96gb --set systemx=1
bound trace.h5 --system gh200-96gb --set system.hbm.capacity=17GB/s
bound trace.h5 --system plain.txt
bound plain.txt --system gh200-96gb
replay plain.txt --memory hbm3-6400 --commands plain.txt
replay plain.txt --memory hbm3-6400 --channels 0
replay plain.txt --memory hbm3-6400 --interleave 5kg
replay plain.txt --memory hbm3-6400 --load nan
replay plain.txt --memory hbm3-6400 --mapping Bg2
replay plain.txt --memory run.toml
replay /dev/zero --memory hbm3-6400
replay trace.h5 --memory hbm3-6400
sweep sweep.toml
sweep sweep.toml -o . --jobs 1
sweep sweep.toml -o run.toml --jobs 1
sweep sweep.toml -o OUT --jobs 0
sweep run.toml --dry-run
plot result.h5 --kind gap
plot result.h5 --kind gapp -o OUT.png
plot result.h5 --kind timeline --policy none -o OUT.png
plot result.h5 trace.h5 --kind speedup -o OUT.png
plot trace.h5 --kind bandwidth -o OUT.png
plot result.h5 --kind reuse -o OUT.png
plot plain.txt --kind lost-cycles -o OUT.png
plot swept --kind sweep-line --x none -o OUT.png
plot swept --kind sweep-line --at capacity -o OUT.png
report swept -o run.toml
report swept -o swept/sweep.h5
report none -o OUT.html
report empty -o OUT.html
presets none
presets --from-hf run.toml
presets --from-hf swept
info plain.txt
info trace.h5
info none
inof result.h5
workload inof trace.h5
""".strip().splitlines()
]
AXES = (
    'key = "system.hbm.capacity"\nrange = { from = "17 GB/s", to = "18 GB/s", count = 2 }',
    'key = "system.hbm.capacity"\nrange = { from = "17 GB", to = "30 GHz", count = 2 }',
    'key = "system.hbm.capacity"\nlog = { from = "17 s", to = "30 s", count = 2 }',
    'key = "system"\nsobol = { points = 2, over = { "workload.seed" = { from = 1, to = 2 } } }',
    'sobol = { points = 2, over = { "system.hbm.capacity" = { from = "17 s", to = "20 s" } } }',
    'key = "workload.sparsity"\nvalues = [true]',
    'key = "workload.sparsity"\nvalues = []',
    'key = "workload.sparsity"\nvalues = [2]',
    'key = "workload.sparsty"\nvalues = [0.5]',
    'key = "workload.sparsity"\nrange = { from = false, to = true, count = 2 }',
    'key = "workload.sparsity"\nrange = { from = 0, to = nan, count = 2 }',
    'key = "workload.sparsity"\nrange = { from = 0, to = 1e300, step = 1e-300 }',
    'key = "workload.seed"\nrange = { from = 1, to = 2, count = 1000000000000 }',
    'key = "policies.names"\nvalues = ["subprocess:run"]',
    'key = "policies.names"\nvalues = [3]',
    'zip = { "workload.seed" = [1, 2], "workload.sparsity" = [0.5] }',
    'zip = {}',
)  # fmt: skip
NAMES = (".", "", "a/b", "..", "time_s", "gap", "policy", "point", "workload_steps", "a\\nb", "$$")
TITLES = ("$$", "$x_{", "\u007f", "\U0001f600", "<b>", "a|b`c``", "\\", "%s {x}", '"', "é")


class Case(NamedTuple):
    """One call. `files`: what stands in the folder beside the corpus, by name."""

    kind: str
    call: list[str]
    files: dict[str, bytes]
    codes: tuple[int, ...] = (2,)


def cases(corpus: Path, seed: int, count: int) -> Iterator[Case]:
    """At least `count` inputs over all commands, the same for the same seed and corpus."""
    rng = random.Random(seed)
    fixed = [*_wrong_calls(), *_axes(corpus), *_titles(corpus), *_structures(corpus)]
    listed = rng.sample(fixed, min(len(fixed), count // 2))
    yield from fixed if seed == 0 else listed
    drawn = itertools.cycle([_wrong_value, _typo, _torn_text, _flipped, _wrong_value, _cut])
    for _ in range(max(count - len(fixed if seed == 0 else listed), count // 3)):
        yield next(drawn)(corpus, rng)


def _wrong_calls() -> Iterator[Case]:
    for call in WRONG_CALLS:
        yield Case("call", call, {})


def _axes(corpus: Path) -> Iterator[Case]:
    for axis in AXES:
        text = f'base = "run.toml"\n[axes.a]\n{axis}\n'.encode()
        yield Case("axis", ["sweep", "bad.toml", "-o", "OUT", "--jobs", "1"], {"bad.toml": text})
    for name in NAMES:
        text = f'base = "run.toml"\n[axes."{name}"]\nkey = "workload.seed"\nvalues = [1]\n'
        call = ["sweep", "bad.toml", "-o", "OUT", "--jobs", "1"]
        yield Case("axis name", call, {"bad.toml": text.encode()})


def _titles(corpus: Path) -> Iterator[Case]:
    """Titles are text, whatever is in them: figures are drawn, and the configuration reruns."""
    for k, title in enumerate(TITLES):
        text = (corpus / "run.toml").read_text().replace('"an attack"', _quoted(title))
        ending = ("png", "svg", "pdf")[k % 3]
        call = ["run", "bad.toml", "-o", "OUT.h5", "--plot", f"OUT.{ending}"]
        yield Case("title", call, {"bad.toml": text.encode()}, (0,))


def _quoted(text: str) -> str:
    return tomli_w.dumps({"a": text}).removeprefix("a = ").strip()


def _structures(corpus: Path) -> Iterator[Case]:
    """HDF5 files that are whole, but not what they should be."""
    import h5py

    def changed(name: str, change: Callable[[Any], None]) -> bytes:
        copy = io.BytesIO((corpus / name).read_bytes())
        with h5py.File(copy, "r+") as file:
            change(file)
        return copy.getvalue()

    def attribute(name: str, value: Any) -> Callable[[Any], None]:
        return lambda file: file.attrs.__setitem__(name, value)

    def instead(name: str, value: Any) -> Callable[[Any], None]:
        def change(file: Any) -> None:
            del file[name]
            if value is not None:
                file[name] = value

        return change

    links = (None, h5py.SoftLink("/none"), h5py.ExternalLink("/etc/passwd", "x"), [[1.0]], "text")
    places = {
        "trace.h5": (("block_bytes", "layers", "seed", "title", "format"), (
            "block/position", "read/offset", "step/token")),
        "result.h5": (("complete", "wall_s", "config", "title", "format"), (
            "policy", "gap", "total_time_s", "bound_kind")),
        "swept/sweep.h5": (("title", "points", "format"), ("point", "total_time_s")),
    }  # fmt: skip
    for name, (attributes, datasets) in places.items():
        call = CALLS[name][0]
        for each in attributes:
            for value in ([1, 2], h5py.Empty("f8"), ["a", "b"], b"\xff\xfe"):
                data = changed(name, attribute(each, value))
                yield Case(f"attribute {each}", call, {name: data})
        for each in datasets:
            for value in links:
                yield Case(f"dataset {each}", call, {name: changed(name, instead(each, value))})


def _wrong_value(corpus: Path, rng: random.Random) -> Case:
    """A value that no key of its kind can hold, whichever command reads it."""
    if rng.random() < 0.7:
        key, value = rng.choice(NUMBERS), rng.choice(NO_NUMBERS)
    else:
        key, value = rng.choice(CHOICES), rng.choice(NO_CHOICES)
    *tables, last = key.split(".")
    text = (corpus / "run.toml").read_text()
    if key == "policies.options.lookahead.window":
        text = text.replace("window = 2", f"window = {value}")
    else:
        lines = [line for line in text.splitlines() if not line.startswith(f"{last} = ")]
        path = ".".join([*tables[1:], last])
        lines = [line for line in lines if not line.startswith(f"{path} = ")]
        at = lines.index(f"[{tables[0]}]") + 1
        text = "\n".join([*lines[:at], f"{path} = {value}", *lines[at:]])
    return Case(f"value {key}", ["run", "run.toml", "-o", "OUT.h5"], {"run.toml": text.encode()})


def _typo(corpus: Path, rng: random.Random) -> Case:
    """A letter of a key or of a table's name too many."""
    name = rng.choice(["run.toml", "requests.toml", "scores.toml", "sweep.toml", "memory.toml"])
    lines = (corpus / name).read_text().splitlines()
    keyed = [k for k, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    # What a policy can be told is checked where policies run.
    keyed = [k for k in keyed if not lines[k].startswith("options.")]
    k = rng.choice(keyed)
    key, _, value = lines[k].partition(" = ")
    at = rng.randrange(len(key.strip()) + 1)
    lines[k] = f"{key[:at]}{rng.choice('qxz_')}{key[at:]} = {value}"
    call = rng.choice(CALLS[name])
    return Case(f"typo {name}", call, {name: "\n".join(lines).encode()})


def _torn_text(corpus: Path, rng: random.Random) -> Case:
    """A text file with a few bytes changed: refused, or harmless (in a comment, a title)."""
    name = rng.choice([name for name in CALLS if not name.endswith((".h5", ".npz"))])
    data = bytearray((corpus / name).read_bytes())
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data))
        data[at : at + rng.randint(0, 2)] = rng.choice(
            [b"\x00", b"\xff", b"[", b'"', b"{", b"9" * 5000, b"-", b"\n", b"", b"=", b",", b"nan"]
        )
    return Case(f"torn {name}", rng.choice(CALLS[name]), {name: bytes(data)}, (0, 1, 2))


def _flipped(corpus: Path, rng: random.Random) -> Case:
    """A binary file with a few bits flipped: refused, or harmless."""
    name = rng.choice(["trace.h5", "result.h5", "swept/sweep.h5", "scores.npz", "gem5.bin"])
    data = bytearray((corpus / name).read_bytes())
    for _ in range(rng.randint(1, 4)):
        at = min(int(rng.expovariate(1 / 3000)), len(data) - 1)  # structure lies at the start
        data[at] ^= 1 << rng.randrange(8)
    return Case(f"flipped {name}", rng.choice(CALLS[name]), {name: bytes(data)}, (0, 2))


def _cut(corpus: Path, rng: random.Random) -> Case:
    """Any file, cut short, or with what belongs to another behind it."""
    name = rng.choice(list(CALLS))
    data = (corpus / name).read_bytes()
    data = data[: rng.randrange(len(data))]
    if rng.random() < 0.3:
        data += rng.choice([b"\x00" * 100, b"[" * 3000, b"{" * 3000, b'{"a":' * 3000])
    return Case(f"cut {name}", rng.choice(CALLS[name]), {name: data}, (0, 1, 2))


def make_corpus(folder: Path) -> None:
    """One sound file of each kind that a command reads."""
    import numpy as np

    for name, text in FILES.items():
        (folder / name).write_text(text)
    np.savez(folder / "scores.npz", scores=np.random.default_rng(1).random((4, 2, 24)))
    (folder / "empty").mkdir()
    (folder / "taken").write_text("")
    (folder / "taken.meta.json").write_text('{"a": "thesis"}')
    (folder / "link.h5").symlink_to("elsewhere.h5")
    with contextlib.chdir(folder):
        for call, into in (
            ("presets hbm3-6400", "memory.toml"),
            ("replay plain.txt --memory hbm3-6400 --json", "replay.json"),
            ("workload generate run.toml -o trace.h5", None),
            ("workload export trace.h5 --to gem5 -o gem5.bin --steps 0:2", None),
            ("run run.toml -o result.h5", None),
            ("sweep sweep.toml -o swept --jobs 1", None),
        ):
            code, out, err = here(call.split())
            assert code == 0, err
            if into is not None:
                Path(into).write_text(out)


class TooLong(BaseException):
    """An input has taken longer than it may."""


def here(call: list[str]) -> tuple[int | None, str, str]:
    """The command in this process: exit code (None: an exception got out), output, errors."""
    from hmsim.cli import main

    def alarm(*_: object) -> None:
        raise TooLong

    out, err = io.StringIO(), io.StringIO()
    signal.signal(signal.SIGALRM, alarm)
    signal.alarm(LONGEST)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code: int | None = main(call)
    except BaseException as error:  # none may leave `main`
        code = None
        err.write(f"{type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
    return code, out.getvalue(), err.getvalue()


def judge(case: Case, corpus: Path, folder: Path) -> str | None:
    """What is wrong with the answer to a case, None if it holds."""
    shutil.copytree(corpus, folder, symlinks=True)
    for name, data in case.files.items():
        (folder / name).write_bytes(data)
    before = state(folder)
    with contextlib.chdir(folder):
        code, _, err = here(case.call)
    after = state(folder)
    shutil.rmtree(folder)
    lines = [line for line in err.splitlines() if line.startswith("hmsim:")]
    if code is None or "Traceback" in err or "unexpected error" in err:
        return f"exit {code}: {err[-300:]}"
    if code not in case.codes:
        return f"exit {code}, not {case.codes}: {err[-300:]}"
    if code == 2 and (len(lines) != 1 or err.splitlines()[-1] != lines[0]):
        return f"not one line: {err[-300:]}"
    lost = [name for name, data in before.items() if after.get(name) != data]
    sweeping = case.call[0] in ("sweep", "info", "plot", "report")
    lost = [name for name in lost if not (sweeping and name.startswith("swept/"))]
    if lost:
        return f"changed: {', '.join(lost)}"
    new = [name for name in after if name not in before and not name.startswith("swept/")]
    if code != 0 and case.call[0] != "sweep" and new:
        return f"left behind: {', '.join(new)}"
    if any(".hmsim-" in name for name in after):
        return "left a temporary file behind"
    return None


def state(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def child(corpus: Path, seed: int, count: int, first: int) -> int:
    """Judge the cases from `first` on; a JSON line before and after each."""
    say = os.fdopen(os.dup(1), "w", buffering=1)
    with tempfile.TemporaryDirectory() as work:
        for number, case in enumerate(cases(corpus, seed, count)):
            if number >= first:
                say.write(json.dumps({"at": number, "kind": case.kind, "call": case.call}) + "\n")
                wrong = judge(case, corpus, Path(work) / "case")
                say.write(json.dumps({"done": number, "wrong": wrong}) + "\n")
    return 0


def inputs(corpus: Path, seed: int, count: int) -> tuple[int, list[str]]:
    """How many inputs were tried, and what failed; a crash is a failure, and the rest goes on."""
    failed: list[str] = []
    tried = first = 0
    while True:
        call = [sys.executable, __file__, "--child", str(corpus), "--seed", str(seed),
                "--inputs", str(count), "--first", str(first)]  # fmt: skip
        with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            now: dict[str, Any] = {}
            for line in process.stdout:
                said = json.loads(line)
                if "at" in said:
                    now = said
                    continue
                tried, first = tried + 1, said["done"] + 1
                if said["wrong"]:
                    failed.append(f"{now['kind']}: {' '.join(now['call'])}: {said['wrong']}")
        if process.returncode == 0:
            return tried, failed
        if now.get("at", -1) < first:
            raise RuntimeError(f"the process that tries inputs ended with {process.returncode}")
        tried, first = tried + 1, now["at"] + 1
        failed.append(f"{now['kind']}: {' '.join(now['call'])}: crash {process.returncode}")


# A command that writes OUT, and how to tell that OUT is whole.
WRITERS = (
    (["run", "run.toml", "-o", "OUT.h5"], ["info", "OUT.h5"]),
    (["workload", "generate", "run.toml", "-o", "OUT.h5"], ["workload", "info", "OUT.h5"]),
    (["plot", "result.h5", "--kind", "timeline", "-o", "OUT.svg"], None),
    (["report", "swept", "-o", "OUT.html", "--quick"], None),
    (["report", "swept", "-o", "OUT.md", "--markdown"], None),
    (["workload", "export", "trace.h5", "--to", "csv", "-o", "OUT.csv"], None),
    (["replay", "plain.txt", "--memory", "hbm3-6400", "--commands", "OUT.csv"], None),
    (["workload", "import", "csv.csv", "--from", "csv", "-o", "OUT.txt"], None),
    (["workload", "calibrate", "targets.toml", "-o", "OUT.toml"], None),
    (["sweep", "sweep.toml", "-o", "OUT", "--jobs", "1", "--resume"], None),
)


def kills(corpus: Path, seed: int, count: int) -> tuple[int, list[str]]:
    """Kill commands at random moments while they replace a file, or make a new one."""
    rng = random.Random(seed)
    failed = []
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "hmsim", "run", "run.toml"], cwd=corpus,
                   stdout=subprocess.DEVNULL, check=True)  # fmt: skip
    seconds = time.monotonic() - began  # about what a command takes, on this machine now
    for number in range(count):
        call, check = WRITERS[number % len(WRITERS)]
        how = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / "case"
            shutil.copytree(corpus, folder, symlinks=True)
            target = folder / call[call.index("-o") + 1 if "-o" in call else -1]
            if call[0] != "sweep" and rng.random() < 0.5:
                target.write_bytes(b"what was there before")
            process = subprocess.Popen(
                [sys.executable, "-m", "hmsim", *call], cwd=folder, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.2, 1.2) * seconds)
            process.send_signal(how)
            err = process.communicate()[1]
            wrong = _after_kill(folder, target, call, check, process.returncode, err, how)
        if wrong:
            failed.append(f"kill {how.name}: {' '.join(call)}: {wrong}")
    return count, failed


def _after_kill(
    folder: Path, target: Path, call: list[str], check: list[str] | None, code: int, err: str,
    how: signal.Signals,
) -> str | None:  # fmt: skip
    if "Traceback" in err and code != -how:
        return f"exit {code}: {err[-300:]}"
    if how != signal.SIGKILL and any(".hmsim-" in name for name in state(folder)):
        return "left a temporary file behind"
    if call[0] == "sweep":
        with contextlib.chdir(folder):
            code, _, err = here(call)
            return None if code == 0 else f"cannot go on: {err[-300:]}"
    if not target.exists() or target.read_bytes() == b"what was there before":
        return None
    if check is not None:
        with contextlib.chdir(folder):
            code, _, err = here(check)
        return None if code == 0 else f"cannot be read: {err[-300:]}"
    ends = {".svg": b"</svg>\n", ".html": b"</html>\n", ".csv": b"\n", ".txt": b"\n"}
    data = target.read_bytes()
    return None if data.endswith(ends.get(target.suffix, b"")) and data else "is not whole"


def full_disk(corpus: Path, seed: int) -> tuple[int, list[str]]:
    """Every command that writes, where the disk is full after a few kilobytes."""
    rng = random.Random(seed)
    failed, tried = [], 0
    for call, _ in WRITERS:
        for room in (0, rng.randrange(1, 6), rng.randrange(6, 60)):
            tried += 1
            with tempfile.TemporaryDirectory() as work, _small(Path(work), room) as (place, limit):
                out = [each.replace("OUT", str(place / "OUT")) for each in call]
                done = subprocess.run(
                    [sys.executable, "-m", "hmsim", *out], cwd=corpus, capture_output=True,
                    text=True, check=False, preexec_fn=limit,
                )  # fmt: skip
                left = sorted(each.name for each in place.iterdir() if each.name != "filler")
                bad = done.returncode < 0 or "Traceback" in done.stderr
                if done.returncode == 0 and bad is False:
                    continue
                if call[0] != "sweep" and left:
                    bad = True
                if bad or done.returncode not in (1, 2) or "unexpected" in done.stderr:
                    failed.append(
                        f"full disk, {room} kB: {' '.join(call)}: exit {done.returncode}, left "
                        f"{left}: {done.stderr[-300:]}"
                    )
    return tried, failed


@contextlib.contextmanager
def _small(work: Path, room: int) -> Iterator[tuple[Path, Callable[[], None] | None]]:
    """A folder on a disk with `room` kilobytes left; or else a limit on the size of files."""
    place = work / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and not subprocess.run(mount, capture_output=True).returncode
    if not mounted:
        most = max(room, 1) * 1024
        yield place, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        return
    try:
        (place / "filler").write_bytes(b"x" * (1024 - 4 * -(-room // 4)) * 1024)
        yield place, None
    finally:
        subprocess.run(["umount", str(place)], check=True)


STREAMS = (  # how the command's standard streams can be, and the exit codes that are right
    ("info result.h5", {"PYTHONIOENCODING": "ascii"}, "", (0,)),
    ("presets", {"PYTHONIOENCODING": "ascii"}, "", (0,)),
    ("presets", {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, "", (0,)),
    ("info result.h5", {}, ">&-", (0, 1)),
    ("info result.h5", {}, ">&- 2>&-", (0, 1)),
    ("run run.toml -o OUT.h5", {}, ">&-", (0, 1)),
    ("info result.h5", {}, "> /dev/full", (1,)),
    ("presets", {}, "> /dev/full", (1,)),
    ("run run.toml --json", {}, "> /dev/full", (1,)),
    ("presets", {}, "| head -c 5", (0,)),
    ("run run.toml", {"NUMBA_NUM_THREADS": "0"}, "", (2,)),
    ("run run.toml", {"NUMBA_NUM_THREADS": "many"}, "", (2,)),
)


def streams(corpus: Path) -> tuple[int, list[str]]:
    """Closed, full and narrow standard streams, and an environment that is wrong."""
    failed = []
    for call, environment, shell, codes in STREAMS:
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / "case"
            shutil.copytree(corpus, folder, symlinks=True)
            line = f"set -o pipefail; '{sys.executable}' -m hmsim {call} {shell}"
            done = subprocess.run(
                ["bash", "-c", line], cwd=folder, env=os.environ | environment, check=False,
                capture_output=True,
            )  # fmt: skip
            if done.returncode not in codes or b"Traceback" in done.stderr + done.stdout:
                failed.append(f"{call} {shell} {environment}: exit {done.returncode}: "
                              f"{done.stderr[-300:]!r}")  # fmt: skip
    return len(STREAMS), failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,random", metavar="N,M")
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--inputs", type=int, default=600, metavar="N")
    parser.add_argument("--kills", type=int, default=40, metavar="N")
    parser.add_argument("--child", metavar="CORPUS", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(Path(options.child), options.seed, options.inputs, options.first)
    seeds = [
        random.randrange(2**32) if each == "random" else int(each)
        for each in options.seeds.split(",")
    ]
    tried_all, failed_all = 0, 0
    with tempfile.TemporaryDirectory(prefix="hmsim-attack-") as work:
        corpus = Path(work) / "corpus"
        corpus.mkdir()
        make_corpus(corpus)
        parts: list[tuple[str, Callable[[], tuple[int, list[str]]]]] = [
            ("standard streams", lambda: streams(corpus)),
            (f"full disk (seed {seeds[0]})", lambda: full_disk(corpus, seeds[0])),
        ]
        for seed in seeds:
            share = options.inputs // len(seeds), options.kills // len(seeds)
            parts += [
                (f"malformed inputs (seed {seed})", partial(inputs, corpus, seed, share[0])),
                (f"kills (seed {seed})", partial(kills, corpus, seed, share[1])),
            ]
        for what, run in parts:
            tried, failed = run()
            print(f"{what}: {tried} tried, {tried - len(failed)} held, {len(failed)} failed",
                  flush=True)  # fmt: skip
            for each in failed:
                print(f"  {each}", flush=True)
            tried_all, failed_all = tried_all + tried, failed_all + len(failed)
    print(f"all: {tried_all} tried, {tried_all - failed_all} held, {failed_all} failed")
    return 1 if failed_all else 0


if __name__ == "__main__":
    sys.exit(main())
