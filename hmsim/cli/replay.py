"""`hmsim replay`: one plain address trace through one memory."""

import argparse
from typing import Any

from hmsim.config.enumerations import DATA
from hmsim.errors import InputError


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "replay",
        help="put an address trace through one memory",
        description="Replay a trace of `LD ADDRESS` and `ST ADDRESS` lines (decimal or 0x, gzipped or "
        "not) through the channels of one memory; print bandwidth, latency, why it is below peak, and "
        "joules by cause.",
        allow_abbrev=False,
    )
    parser.add_argument("trace", metavar="TRACE")
    parser.add_argument("--memory", required=True, metavar="PRESET", help="or a TOML file of one")
    parser.add_argument("--channels", type=int, default=1, metavar="N")
    parser.add_argument("--mapping", metavar="MAP", help='such as "Bg2 Pc1 Co5 Si1 Ba2 Ro14"')
    parser.add_argument("--wrap", action="store_true", help="addresses beyond it begin anew at 0")
    parser.add_argument("--interleave", metavar="BYTES", help="bytes on a channel before the next")
    parser.add_argument("--queue", type=int, metavar="N", help="requests a channel can hold")
    parser.add_argument("--row-policy", default="open", metavar="open|closed:N")
    parser.add_argument("--refresh", default="all-bank", metavar="all-bank|per-bank|none")
    parser.add_argument("--scheduler", default="FRFCFSRowHit", metavar="FRFCFSRowHit|FRFCFS")
    parser.add_argument("--load", type=float, metavar="F", help="arrivals, as a share of peak")
    parser.add_argument("--poisson", action="store_true", help="exponential gaps, not fixed ones")
    parser.add_argument("--fidelity", default="burst", choices=("burst", "run"))
    parser.add_argument(
        "--data", default="random", choices=DATA, help="what is read and written, for the energy"
    )
    parser.add_argument("--commands", metavar="CSV", help="write every DRAM command here")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> int:
    from hmsim import units
    from hmsim.cli.common import print_json
    from hmsim.config.base import load, read_toml
    from hmsim.config.memory import MemorySpec
    from hmsim.files import check_output
    from hmsim.memory.address_trace import format_table, replay_trace

    interleave = None
    if options.interleave is not None:
        try:
            interleave = units.whole(options.interleave, "bytes")
        except ValueError as error:
            raise InputError(f"--interleave {options.interleave}: {error}") from None
    memory = options.memory
    if memory.endswith(".toml"):
        memory = load(MemorySpec, read_toml(memory), memory)
    if options.commands is not None:
        check_output(options.commands, [options.trace, options.memory])
    result = replay_trace(
        options.trace,
        memory,
        channels=options.channels,
        mapping=options.mapping,
        interleave=interleave,
        queue=options.queue,
        row_policy=options.row_policy,
        refresh=options.refresh,
        load=options.load,
        poisson=options.poisson,
        scheduler=options.scheduler,
        fidelity=options.fidelity,
        commands=options.commands,
        wrap=options.wrap,
        data=options.data,
    )
    if options.json:
        print_json(result.to_json())
    else:
        print(format_table(result))
    return 0
