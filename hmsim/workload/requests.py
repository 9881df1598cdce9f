"""Real requests: arrivals, prompt and output lengths, shared prefixes, from published traces."""

import itertools
import warnings
from array import array
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from hmsim import files, machine
from hmsim.config.workload import SyntheticRequests
from hmsim.errors import InputError, InputWarning, did_you_mean
from hmsim.exchange.request_formats import MOONCAKE_BLOCK, WRITERS, Request, RequestFile, Row
from hmsim.workload.steps import F64, I64

HELD_BYTES = 400  # of memory, for one made-up request on its way to a schedule
PREFIX_BYTES = 250  # of memory, for one prefix block that is known
PREFIXES_CHECKED = 1 << 20  # prefix blocks after which memory is looked at again

Ids = Sequence[int]


class Requests(NamedTuple):
    """R requests in order of arrival. `hashes[r]`: ids of the prompt's prefix blocks, or empty."""

    arrival_s: F64  # [R], from the first request on
    prompt: I64  # [R] tokens
    output: I64  # [R] tokens
    hashes: Sequence[Ids]  # equal id: same tokens, and same before them
    hash_tokens: int = MOONCAKE_BLOCK  # tokens of a prefix block
    timed: bool = True  # whether arrivals are known; else all are 0
    after: I64 | None = None  # [R] the request that must end before this one starts, or -1
    wait_s: F64 | None = None  # [R] and how long before; such a one's arrival is but the earliest


def read_requests(
    path: Path,
    form: str | None = None,
    hash_tokens: int | None = None,
    no_output: str = "leave-out",
) -> Requests:
    """The requests in `path`, read as a stream: of a large file, only what is returned is held.

    Args:
        path: The file, gzipped or not.
        form: A key of `hmsim.exchange.request_formats.FORMATS`; None: told from the content.
        hash_tokens: Tokens behind one hash id; None: the format's own, unless the numbers of ids
            and tokens say otherwise and leave one power of two.
        no_output: What becomes of requests without output, which are failures in most traces:
            "leave-out" counts them in a warning, "refuse" is an error.

    Raises:
        InputError: The file is missing or of no known format; a number, a time or a list of ids is
            malformed or absurd; times are out of order where the format has them in order;
            hash_tokens does not fit. The line is named.
    """
    source = RequestFile(path, form)
    times: list[int | float] = []
    prompt, output, hashes = array("q"), array("q"), list[Ids]()
    prefixes, fit, sessions = _Prefixes(), _Fit(source, hash_tokens), _Sessions(source)
    latest: int | float | None = None
    left_out = 0
    for row in source.rows():
        time = row.time if row.session is None else sessions.enter(row)
        if not source.format.unsorted and row.follows is None:
            if latest is not None and time < latest:
                raise InputError(f"{source.at(row.number)}: arrives before the {source.noun} above")
            latest = time
        if row.output == 0:
            if no_output == "refuse":
                raise InputError(
                    f"{source.at(row.number)}: 0 tokens of output "
                    '(no_output = "leave-out" leaves such requests out)'
                )
            left_out += 1
            continue
        if row.session is not None:
            sessions.keep(row, len(times))
        times.append(time)
        prompt.append(row.prompt)
        output.append(row.output)
        if row.ids:
            fit.take(row.prompt, len(row.ids), row.hash_tokens, row.number)
        hashes.append(prefixes.chain(row.ids) if row.ids else ())
    if not times:
        raise InputError(f"{path}: holds no request" + (" with output" if left_out else ""))
    if left_out:
        total = left_out + len(times)
        warnings.warn(
            f"{path}: {left_out:,} of {total:,} requests have no output and are left out",
            InputWarning,
            stacklevel=2,
        )
    start = min(times)
    arrival = np.array([time - start for time in times], np.float64) / source.format.per_second
    found = Requests(
        arrival,
        np.frombuffer(prompt, np.int64),
        np.frombuffer(output, np.int64),
        hashes,
        fit.size(),
        source.timed,
        *sessions.columns(len(times)),
    )
    return _sorted(found) if source.format.unsorted or found.after is not None else found


def _sorted(requests: Requests) -> Requests:
    """The requests in order of arrival; those that arrive at once keep theirs."""
    order = np.argsort(requests.arrival_s, kind="stable")
    found = requests._replace(
        arrival_s=requests.arrival_s[order],
        prompt=requests.prompt[order],
        output=requests.output[order],
        hashes=[requests.hashes[r] for r in order.tolist()],
    )
    if requests.after is None or requests.wait_s is None:
        return found
    place = np.append(np.argsort(order), -1)  # where each request went; -1 stays
    return found._replace(after=place[requests.after[order]], wait_s=requests.wait_s[order])


class _Sessions:
    """Who waits for whom: each request of a session for the one before it, if it says so."""

    def __init__(self, source: RequestFile) -> None:
        self._source = source
        # The last request of each session: its index (-1: left out), and the earliest time and
        # the wait that its follower inherits.
        self._last: dict[Hashable, tuple[int, int | float, int | float]] = {}
        self._after: dict[int, tuple[int, int | float]] = {}

    def enter(self, row: Row) -> int | float:
        """The earliest time at which a row of a session can arrive."""
        if row.follows is None:
            self._last[row.session] = -1, row.time, 0
            return row.time
        if row.follows not in self._last:
            raise InputError(
                f"{self._source.at(row.number)}: session_id {row.follows!r:.40}: no request of it "
                "before this one"
            )
        before, earliest, waited = self._last[row.follows]
        self._last[row.session] = before, earliest + row.time, waited + row.time
        return earliest + row.time

    def keep(self, row: Row, index: int) -> None:
        """That row is request `index`, for which its followers wait."""
        before, earliest, waited = self._last[row.session]
        if row.follows is not None and before >= 0:
            self._after[index] = before, waited
        self._last[row.session] = index, earliest, 0

    def columns(self, count: int) -> tuple[I64 | None, F64 | None]:
        """`Requests.after` and `wait_s`; None where nobody waits."""
        if not self._after:
            return None, None
        after, wait = np.full(count, -1, np.int64), np.zeros(count)
        for index, (before, time) in self._after.items():
            after[index], wait[index] = before, time / self._source.format.per_second
        return after, wait


class _Prefixes:
    """Prefix blocks by number: one for every sequence of hash ids that begins a prompt.

    The keys and values of a block depend on all that lies before it, so an id that comes again, in
    the same prompt or after other ids, is another block.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, Hashable], int] = {}
        self._checked = PREFIXES_CHECKED

    def chain(self, ids: Sequence[Hashable]) -> "array[int]":
        """The numbers of a prompt's prefix blocks."""
        numbers, before, found = self._numbers, -1, array("q")
        for each in ids:
            before = numbers.setdefault((before, each), len(numbers))
            found.append(before)
        if len(numbers) > self._checked:
            self._checked += PREFIXES_CHECKED
            machine.need_memory(PREFIX_BYTES * PREFIXES_CHECKED, f"{len(numbers):,} prefix blocks")
        return found


class _Fit:
    """How many tokens stand behind a hash id: what the caller, the rows, or their lengths say."""

    def __init__(self, source: RequestFile, given: int | None) -> None:
        self._source, self._given = source, given
        self._said: int | None = None  # by the rows themselves
        self._least, self._most = 1, 1 << 40  # by numbers of ids and tokens

    def take(self, prompt: int, ids: int, said: int | None, number: int) -> None:
        """A prompt of so many tokens and ids; InputError where they cannot be."""
        if said is not None and self._said not in (None, said):
            self._refuse(prompt, ids, number, f"one for {said}, above it is {self._said}")
        self._said = said or self._said
        size = self._given or self._said
        if size is not None:
            # A record may leave out the last, incomplete block.
            if ids != -(-prompt // size) and not (said and ids == prompt // size):
                self._refuse(prompt, ids, number, f"of {size} each it takes {-(-prompt // size):,}")
            return
        self._least = max(self._least, -(-prompt // ids))
        if ids > 1:
            self._most = min(self._most, (prompt - 1) // (ids - 1))
        if self._least > self._most:
            why = "no one number of tokens behind an id fits this and what is above"
            self._refuse(prompt, ids, number, why)

    def _refuse(self, prompt: int, ids: int, number: int, why: str) -> NoReturn:
        where = self._source.at(number)
        raise InputError(f"{where}: {ids:,} hash ids for {prompt:,} tokens: {why}")

    def size(self) -> int:
        """Tokens behind an id; InputError where the file leaves several."""
        own = self._source.format.hash_tokens or MOONCAKE_BLOCK
        if self._given or self._said:
            return self._given or self._said or own
        if self._least <= own <= self._most:
            return own
        powers = [1 << k for k in range(40) if self._least <= 1 << k <= self._most]
        if len(powers) == 1 or self._least == self._most:
            found = self._least if self._least == self._most else powers[0]
            warnings.warn(
                f"{self._source.path}: hash ids stand for {found} tokens each, by their numbers",
                InputWarning,
                stacklevel=3,
            )
            return found
        raise InputError(
            f"{self._source.path}: a hash id stands for {self._least:,} to {self._most:,} tokens: "
            "say how many with workload.requests.hash_tokens"
        )


def synthetic_requests(spec: SyntheticRequests, seed: int) -> Requests:
    """Requests from distributions, the same for the same seed."""
    machine.need_memory(HELD_BYTES * spec.count, f"workload.requests: {spec.count:,} requests")
    rng = np.random.Generator(np.random.Philox(seed))
    gaps = rng.exponential(1 / spec.rate, spec.count)
    prompt = spec.prompt_median * np.exp(spec.prompt_sigma * rng.standard_normal(spec.count))
    output = spec.output_median * np.exp(spec.output_sigma * rng.standard_normal(spec.count))
    prompt = np.clip(np.rint(prompt), 1, spec.longest - 1).astype(np.int64)
    output = np.clip(np.rint(output), 1, spec.longest - prompt).astype(np.int64)
    return Requests(np.cumsum(gaps) - gaps[0], prompt, output, [()] * spec.count)


def write_requests(
    requests: Requests, form: str, path: Path, inputs: Iterable[str | Path] = ()
) -> None:
    """Write requests for another tool: 'llmservingsim', 'vidur' or 'mooncake'."""
    if form not in WRITERS:
        raise InputError(f"format {form!r}: unknown{did_you_mean(form, WRITERS)}")
    if requests.after is not None:
        raise InputError(f"format {form!r}: requests that start when others end cannot be written")
    columns = (requests.arrival_s, requests.prompt, requests.output)
    rows = zip(*(column.tolist() for column in columns), requests.hashes, strict=True)
    lines = WRITERS[form](itertools.starmap(Request, rows), requests.hash_tokens)
    files.write_text(path, "".join(f"{line}\n" for line in lines), inputs)
