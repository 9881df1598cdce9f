"""Joules of a memory, by cause, from its command counts, and of a byte that is moved through it.

A command's energy is VDD x (its current - standby) x its time (Micron TN-41-01): that of an activation
and its precharge from IDD0 over a row cycle, of a burst from IDD4R or IDD4W over its time on the data
bus, of a refresh from IDD5 over tRFC. Standby flows at all times, and is the background. Currents are
data of the memory presets; doubtful ones are ranges, so every energy comes three times (`CASES`).

`energy` tells what commands took. `of_bytes` makes the same coefficients linear in bytes and seconds,
for all steps that no memory kernel sees, and for bounds.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim.config.enumerations import CASES, CAUSES, DATA
from hmsim.config.memory import PROTOCOLS, EnergySpec, LinkSpec, MemorySpec
from hmsim.errors import InputError, did_you_mean
from hmsim.memory import mapping as maps
from hmsim.memory.device import MemoryConfig

F64 = NDArray[np.float64]

ACTIVATION, READ, WRITE, IO, REFRESH, BACKGROUND, LINK = range(len(CAUSES))
_MOST_BURSTS = 1 << 19  # of an extent whose rows are counted: longer ones are alike
_LINES = 1 << 16  # bursts of extents that follow one another, over which rows are averaged, about


class Commands(NamedTuple):
    """What commands of one data bus (LPDDR: of a rank) take, each float64 [CASES].

    Attributes:
        activation_J: Joules of an activation with its precharge.
        read_J: Joules of a read burst in the memory.
        write_J: Joules of a written burst.
        io_J: Joules of a burst on its way between memory and host.
        refresh_J: Joules of a refresh of all banks.
        closed_W: Watts while no row is open.
        open_W: Watts while rows are open.
    """

    activation_J: F64
    read_J: F64
    write_J: F64
    io_J: F64
    refresh_J: F64
    closed_W: F64
    open_W: F64


class OfBytes(NamedTuple):
    """A memory's energy as linear in what it moves, float64 [CASES, CAUSES] each.

    Attributes:
        read: Joules a byte that is read.
        write: Joules a byte that is written.
        power: Watts at all times, of all channels.
    """

    read: F64
    write: F64
    power: F64


def commands(spec: MemorySpec, data: str = "random") -> Commands:
    """What commands of a memory take.

    Args:
        spec: The standard, such as `load_memory("hbm3e-6400")`.
        data: `random`, or `static` for data that never change from beat to beat.

    Returns:
        Joules and watts.

    Raises:
        InputError: The memory has no table `[energy]`, or the kind of data is unknown.
    """
    if data not in DATA:
        raise InputError(f"data: {data!r}{did_you_mean(data, DATA)}")
    if spec.energy is None:
        raise InputError(f"memory {spec.title!r}: has no table [energy], so no energy is known")
    given, timing, tCK = spec.energy, spec.timing, spec.tCK
    bits = 8 * spec.organization.burst_bytes
    idd0, closed, one, read, write, idd5 = (
        _cases(each) for each in
        (given.IDD0, given.IDD2N, given.IDD3N, given.IDD4R, given.IDD4W, given.IDD5)
    )  # fmt: skip
    every = _cases(given.IDD3N if given.IDD3N_all is None else given.IDD3N_all)
    cycle, active = timing.nRC * tCK, timing.nRAS * tCK
    burst = timing.nBL * tCK
    toggling = _toggling(given, data)
    standby = _cases(given.standby)
    return Commands(
        activation_J=given.VDD * (idd0 * cycle - one * active - closed * (cycle - active)),
        read_J=given.VDD * (read - one) * burst * toggling,
        write_J=given.VDD * (write - one) * burst * toggling,
        io_J=_cases(given.io) * bits,
        refresh_J=given.VDD * (idd5 - every) * spec.refresh.nRFCab * tCK,
        closed_W=given.VDD * closed + standby,
        open_W=given.VDD * every + standby,
    )


def energy(
    config: MemoryConfig, counts: dict[str, int], seconds: float, data: str = "random"
) -> F64:
    """What a memory took, by cause.

    Rows count as open all the while under the row policy `open`, once one was opened; under
    `closed:N` for tRAS a row.

    Args:
        config: The memory.
        counts: Its commands: `activations`, `reads`, `writes`, `refreshes`, as
            `Memory.statistics` has them.
        seconds: How long it took.
        data: `random` or `static`.

    Returns:
        Joules, float64 [CASES, CAUSES].

    Raises:
        InputError: The memory has no table `[energy]`, or the kind of data is unknown.
    """
    spec = config.spec
    each = commands(spec, data)
    organization = spec.organization
    banks = organization.ranks * organization.bank_groups * organization.banks
    if PROTOCOLS[spec.protocol].by_rank:
        banks //= organization.ranks
    bursts = counts["reads"] + counts["writes"]
    buses = units(config)
    opened = min(
        1.0, counts["activations"] * spec.timing.nRAS * spec.tCK / (buses * seconds or 1.0)
    )
    if config.row_policy == "open" and counts["activations"]:
        opened = 1.0
    of_all_banks = config.refresh == "all-bank"
    found = np.zeros((len(CASES), len(CAUSES)))
    found[:, ACTIVATION] = counts["activations"] * each.activation_J
    found[:, READ] = counts["reads"] * each.read_J
    found[:, WRITE] = counts["writes"] * each.write_J
    found[:, IO] = bursts * each.io_J
    found[:, REFRESH] = counts["refreshes"] * each.refresh_J / (1 if of_all_banks else banks)
    power = each.closed_W + opened * (each.open_W - each.closed_W)
    found[:, BACKGROUND] = power * buses * seconds
    return found


def of_bytes(config: MemoryConfig, size: int, data: str = "random") -> OfBytes:
    """A memory's energy as linear in bytes and seconds.

    Every extent opens each row that it touches once, as the address map lays it out. In-band ECC
    moves bursts of its own.

    Args:
        config: The memory.
        size: Bytes of an extent.
        data: `random` or `static`.

    Returns:
        Joules a byte, and watts.

    Raises:
        InputError: The memory has no table `[energy]`, or the kind of data is unknown.
    """
    spec = config.spec
    each = commands(spec, data)
    burst = spec.organization.burst_bytes
    checked = 1 + 1 / config.ecc if config.ecc else 1.0
    found = OfBytes(*np.zeros((3, len(CASES), len(CAUSES))))
    for way, cause, joules in (
        (found.read, READ, each.read_J), (found.write, WRITE, each.write_J)
    ):  # fmt: skip
        way[:, ACTIVATION] = each.activation_J * opened_rows(config, size)
        way[:, cause] = checked * joules / burst
        way[:, IO] = checked * each.io_J / burst
    buses = units(config)
    found.power[:, BACKGROUND] = buses * (
        each.open_W if config.row_policy == "open" else each.closed_W
    )
    if config.refresh != "none":
        found.power[:, REFRESH] = buses * each.refresh_J / (spec.refresh.nREFI * spec.tCK)
    return found


def link_of_bytes(link: LinkSpec) -> tuple[F64, F64]:
    """Joules of a link a byte of data read over it, and written: packets with their headers, and
    the requests and answers the other way. Float64 [CASES] each.

    Args:
        link: The link of a system.

    Returns:
        Of reads, and of writes.
    """
    header = link.header_bytes
    write_header = header if link.write_header_bytes is None else link.write_header_bytes
    joules = 8 * _cases(link.energy) / link.payload_bytes
    return (
        joules * (link.payload_bytes + 2 * header),
        joules * (link.payload_bytes + write_header + header),
    )


def opened_rows(config: MemoryConfig, size: int) -> float:
    """Rows that an extent touches, a byte of it: the mean over extents that follow one another.

    Args:
        config: The memory.
        size: Bytes of an extent.

    Returns:
        Rows a byte.
    """
    organization = config.spec.organization
    text = config.mapping or config.spec.mapping
    key = (text, str(organization), config.channels, config.interleave, size)
    if key not in _OPENED:
        _OPENED[key] = _opened_rows(config, size)
    return _OPENED[key]


_OPENED: dict[tuple, float] = {}  # what was counted before: runs of a sweep share their memories


def _opened_rows(config: MemoryConfig, size: int) -> float:
    mapping = config.check()
    burst = config.spec.organization.burst_bytes
    bursts = min(_MOST_BURSTS, -(-size // burst))
    lines = np.arange(max(1, _LINES // bursts) * bursts)
    if maps.places_channel(config.mapping or config.spec.mapping):
        channel = maps.channel_of(mapping, lines)
        inside = lines
    else:
        chunk, rest = np.divmod(lines * burst, config.stripe)
        above, channel = np.divmod(chunk, config.channels)
        if config.hashed:
            channel = (channel + maps.turns(above, config.channels)) % config.channels
        inside = (above * config.stripe + rest) // burst
    bank, row, _ = maps.decode(mapping, inside)
    rows = ((lines // bursts * config.channels + channel) << 20) + bank  # banks of all buses
    rows = rows * config.spec.organization.rows + row
    return len(np.unique(rows)) / (lines.size * burst)


def units(config: MemoryConfig) -> int:
    """How many there are of what the currents are of: data buses, or ranks on them (LPDDR)."""
    organization = config.spec.organization
    ranks = organization.ranks if PROTOCOLS[config.spec.protocol].by_rank else 1
    return config.channels * organization.pseudo_channels * ranks


def as_dict(found: F64, case: int = 0) -> dict[str, float]:
    """Joules by the names of CAUSES."""
    return dict(zip(CAUSES, found[case].tolist(), strict=True))


def _cases(ends: tuple[float, float]) -> F64:
    low, high = ends
    return np.array([(low + high) / 2, low, high])


def _toggling(given: EnergySpec, data: str) -> float:
    return given.random_data if data == "random" else given.static_data
