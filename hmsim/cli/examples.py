"""Calls that every `--help` ends with, by command. A test parses each."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "hmsim": (
        "hmsim run paper-60",
        "hmsim workload list",
        "hmsim presets",
        "hmsim run --help",
    ),
    "hmsim run": (
        "hmsim run my.toml -o my.h5 --plot my.png",
        "hmsim run my.toml --set system.hbm.capacity=24GB --set workload.sparsity=0.8",
        "hmsim run my.toml --policy static --policy mine:FillUp --json",
        "hmsim run my.toml --fidelity burst --gap 0.01",
    ),
    "hmsim replay": (
        "hmsim replay trace.txt --memory hbm3-6400 --channels 16 --queue 64",
        "hmsim replay trace.txt --memory mine.toml --row-policy closed:4 --refresh per-bank",
        "hmsim replay trace.txt --memory lpddr5x-8533 --load 0.5 --poisson --json",
    ),
    "hmsim measure": (
        "hmsim measure gh200-96gb --pattern triad",
        "hmsim measure h100-80gb --pattern gather --bytes 656",
        "hmsim measure gh200-96gb-120gb --on dram --blocks 11",
        "hmsim measure gh200-96gb-120gb --on dram --from cpu --load 300 --json",
        "hmsim measure gh200-96gb --on hbm --to dram",
    ),
    "hmsim workload": (
        "hmsim workload list",
        "hmsim workload info quest-2048",
        "hmsim workload generate quest-2048 -o quest.h5",
    ),
    "hmsim workload list": ("hmsim workload list --json",),
    "hmsim workload generate": (
        "hmsim workload generate my.toml -o my.h5",
        "hmsim workload generate my.toml -o my.h5 --set workload.seed=3",
    ),
    "hmsim workload info": (
        "hmsim workload info my.h5 --json",
        "hmsim workload info my.toml --set workload.sparsity=0.9",
    ),
    "hmsim workload import": (
        "hmsim workload import conversation_trace.jsonl --from mooncake -o chat.h5 --set batch=64",
        "hmsim workload import scores.npz --from matrix -o scores.h5 --set matrix.budget=2048",
        "hmsim workload import trace.stl --from dramsys -o trace.txt",
    ),
    "hmsim workload export": (
        "hmsim workload export my.h5 --to ramulator -o my.trace --steps 0:100 --tier hbm",
        "hmsim workload export my.toml --to gem5 -o my.gz --policy reactive --rate 2TB/s",
        "hmsim workload export my.h5 --to dramsim3 -o my.trace --estimate",
    ),
    "hmsim workload capture": (
        "hmsim workload capture smollm2-135m --text book.txt --prompt 6144 --decode 768 "
        "--rule pages,budget=1024 -o book.h5",
        "hmsim workload capture model.gguf --text book.txt --prompt 4096 --decode 256 --rule "
        "tokens,budget=64 --rule quest,budget=1024 --follow model -o own.h5",
    ),
    "hmsim workload calibrate": (
        "hmsim workload calibrate workloads/targets/quest-2048.toml -o fitted.toml",
        "hmsim workload calibrate book.h5 -o like-book.toml",
    ),
    "hmsim bound": (
        "hmsim bound my.h5 --system gh200-96gb --gap 0.01",
        "hmsim bound my.toml --variant inclusive --barrier token --time 60 --json",
        "hmsim bound my.toml --objective energy",
        "hmsim bound my.toml --over system.hbm.capacity=24GB..96GB:20",
        "hmsim bound small.h5 --system gh200-96gb --set system.hbm.capacity=24GB --method lp",
    ),
    "hmsim sweep": (
        "hmsim sweep capacity.toml -o capacity --jobs 4",
        "hmsim sweep capacity.toml --dry-run",
        "hmsim sweep capacity.toml -o capacity --resume --parquet",
        "hmsim sweep capacity.toml -o capacity --scheduler tcp://HOST:8786",
    ),
    "hmsim plot": (
        "hmsim plot --kinds",
        "hmsim plot my.h5 --kind timeline --policy reactive -o timeline.svg",
        "hmsim plot capacity --kind sweep-line --x capacity --at sparsity=0.9 -o line.pdf",
        "hmsim plot my.toml --kind reuse -o reuse.png --width column",
    ),
    "hmsim report": (
        "hmsim report results -o results.html",
        "hmsim report capacity -o capacity.md --markdown --quick",
    ),
    "hmsim presets": (
        "hmsim presets",
        "hmsim presets hbm3-6400 > mine.toml",
        "hmsim presets --from-hf config.json > model.toml",
    ),
    "hmsim info": (
        "hmsim info my.h5",
        "hmsim info my.h5 --config > again.toml",
        "hmsim info capacity --json",
    ),
    "hmsim schema": (
        "hmsim schema run > run.schema.json",
        "hmsim schema memory",
    ),
}
