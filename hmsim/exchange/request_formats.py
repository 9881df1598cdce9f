"""Requests of other tools: the formats as data, one reader, and a writer beside it.

A format says under which names a request's arrival, prompt and output stand, and in which unit
time is. docs/workloads.md describes all of them.
"""

import csv
import itertools
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hmsim import files
from hmsim.errors import InputError, did_you_mean
from hmsim.exchange import text

MOST_TOKENS = 1 << 31  # of a prompt, and of an output
MOST_SECONDS = 10**12
MOST_ARRAY = 256 << 20  # characters of a JSON array, which is read as a whole
TOKEN_BLOCK = 16  # tokens behind one prefix id that is made of token numbers
MOONCAKE_BLOCK = 512  # tokens behind one hash id of Mooncake's own traces

SECOND, MILLI, NANO = 1, 1_000, 1_000_000_000  # of a unit of time in a second


class Row(NamedTuple):
    """One request of a file."""

    time: int | float  # in the format's unit
    prompt: int  # tokens
    output: int
    ids: Sequence[Hashable]  # of its prefix blocks; empty where the file has none
    hash_tokens: int | None  # behind each, where the row says it
    number: int  # of its line, or of its entry in a JSON array
    follows: Hashable = None  # the session whose request before it must end first; `time` later
    session: Hashable = None  # of which later rows may follow it


class Format(NamedTuple):
    """What a format calls things. Of several names, a row has one."""

    time: tuple[str, ...]
    prompt: tuple[str, ...]
    output: tuple[str, ...]
    per_second: int  # units of time in a second
    hash_tokens: int | None = None  # behind one hash id, unless the file shows otherwise
    moments: bool = False  # times are dates
    timeless: bool = False  # a file may lack the column of times
    unsorted: bool = False  # rows may stand in any order


CSV = {
    "azure": Format(
        ("TIMESTAMP",), ("ContextTokens",), ("GeneratedTokens",), NANO, moments=True
    ),
    "burstgpt": Format(("Timestamp",), ("Request tokens",), ("Response tokens",), SECOND),
    "vidur": Format(
        ("arrived_at",), ("num_prefill_tokens",), ("num_decode_tokens",), SECOND, timeless=True
    ),
}  # fmt: skip
_LENGTHS = ("input_length", "input_tokens"), ("output_length", "output_tokens")
JSON = {
    "mooncake": Format(("timestamp", "created_time"), *_LENGTHS, MILLI, MOONCAKE_BLOCK),
    "bailian": Format(("timestamp",), *_LENGTHS, SECOND, 16),
    "dynamo": Format(
        ("timestamp", "created_time"), *_LENGTHS, MILLI, MOONCAKE_BLOCK, unsorted=True
    ),
    "llmservingsim": Format(
        ("arrival_time_ns",), ("input_toks",), ("output_toks",), NANO, TOKEN_BLOCK, unsorted=True
    ),
}
FORMATS = CSV | JSON

# Keys by which the first object of a file tells its format, in this order.
TELLING = (
    ("dynamo", ("schema", "event", "event_type")),
    ("bailian", ("chat_id",)),
    ("llmservingsim", ("input_toks", "sub_requests")),
    ("mooncake", ("input_length", "input_tokens", "hash_ids")),
)
# Files that are something else, and what to do with them.
FOREIGN = {
    "selected_token_pos": "selections, not requests; make a trace of them: hmsim workload import",
    "conversations": "text without numbers of tokens; tokenize it first",
    "text_input": "text without numbers of tokens; tokenize it first",
}
DELAYS = ("delay", "delay_ms")  # of a request that starts so long after the one before it ends
LFS = "version https://git-lfs"


class RequestFile:
    """A file of requests, whose rows are read as a stream, once.

    Attributes:
        form: Its format, a key of FORMATS.
        format: What that format calls things.
        timed: Whether its requests have times of arrival.
        noun: What a row is: a "line", or an "entry" of a JSON array.
    """

    def __init__(self, path: Path, form: str | None = None) -> None:
        """Tell the format from the first line, unless `form` says it. Raises InputError."""
        if form is not None and form not in FORMATS:
            raise InputError(f"format {form!r}: unknown{did_you_mean(form, FORMATS)}")
        self.path, self.noun, self.timed = path, "line", True
        source = text.lines(path)
        filled = ((number, line) for number, line in source if line.strip())
        first = next(filled, None)
        if first is None:
            raise InputError(f"{path}: empty; expected requests, one a line")
        if first[1].startswith(LFS):
            raise InputError(f"{path}: a pointer of Git LFS, not the file; fetch it: git lfs pull")
        rest = itertools.chain([first], source)
        if first[1].lstrip()[0] in "{[" and form not in CSV:
            objects = self._objects(rest)
            row = next(objects)
            self.form = form or self._told(row[1])
            self._rows = self._of_objects(itertools.chain([row], objects))
        else:
            self.form, header, delimiter = self._header(first, form)
            self._rows = self._of_cells(rest, header, delimiter)
        self.format = FORMATS[self.form]

    def rows(self) -> Iterator[Row]:
        """The requests, in the file's order; InputError names a bad line and what is wrong."""
        return self._rows

    def at(self, number: int) -> str:
        """How an error about that row begins."""
        return f"{self.path}: {self.noun} {number}"

    def _objects(self, source: Iterator[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """JSON objects, one a line; or the entries of one JSON array."""
        number, line = next(source)
        if line.lstrip()[0] == "[":
            self.noun = "entry"
            values: Iterable[tuple[int, Any]] = enumerate(self._array(line, source), 1)
        else:
            filled = ((n, each) for n, each in itertools.chain([(number, line)], source)
                      if each.strip())  # fmt: skip
            values = ((n, files.parse_json(each, self.at(n))) for n, each in filled)
        for number, value in values:
            if not isinstance(value, dict):
                raise InputError(f"{self.at(number)}: expected an object")
            yield number, value

    def _array(self, first: str, source: Iterable[tuple[int, str]]) -> list[Any]:
        parts, size = [first], len(first)
        for _, line in source:
            parts.append(line)
            size += len(line) + 1
            if size > MOST_ARRAY:
                raise InputError(
                    f"{self.path}: a JSON array of more than {MOST_ARRAY:,} characters; write one "
                    "object a line"
                )
        values = files.parse_json("\n".join(parts), str(self.path))
        if not values:
            raise InputError(f"{self.path}: holds no request")
        return list(values)

    def _told(self, row: dict[str, Any]) -> str:
        for key, what in FOREIGN.items():
            if key in row:
                raise InputError(f"{self.path}: {key}: {what}")
        for form, keys in TELLING:
            if any(key in row for key in keys):
                return form
        raise InputError(f"{self.path}: {self._known()}")

    def _known(self) -> str:
        columns = "; ".join(
            f"{form}: {', '.join((*each.time, *each.prompt, *each.output))}"
            for form, each in CSV.items()
        )
        return (
            f"neither JSON lines ({', '.join(JSON)}) nor a known CSV header ({columns}); "
            "docs/workloads.md describes the formats"
        )

    def _header(self, first: tuple[int, str], form: str | None) -> tuple[str, list[str], str]:
        """The format, its header, and what divides cells."""
        number, line = first
        for delimiter in ",;\t|":
            header = [cell.strip().strip("\"'").lower() for cell in line.split(delimiter)]
            for name in CSV if form is None else [form]:
                if name in CSV and not self._missing(name, header):
                    return name, header, delimiter
        if form is None:
            raise InputError(f"{self.path}: {self._known()}")
        if form not in CSV:
            raise InputError(f"{self.at(number)}: not JSON: {line!r:.40}")
        header = [cell.strip().lower() for cell in line.split(",")]
        missing = self._missing(form, header)[0]
        raise InputError(f"{self.at(number)}: column {missing} is missing")

    def _missing(self, form: str, header: list[str]) -> list[str]:
        kind = CSV[form]
        needed = (*kind.prompt, *kind.output, *(() if kind.timeless else kind.time))
        return [name for name in needed if name.lower() not in header]

    def _of_cells(
        self, source: Iterable[tuple[int, str]], header: list[str], delimiter: str
    ) -> Iterator[Row]:
        kind = CSV[self.form]
        names = kind.time[0], kind.prompt[0], kind.output[0]
        columns = []
        for name in names:
            if header.count(name.lower()) > 1:
                raise InputError(f"{self.path}: column {name} is there twice")
            columns.append(header.index(name.lower()) if name.lower() in header else -1)
        self.timed = columns[0] >= 0
        width, last = len(header), 0

        def counted() -> Iterator[str]:
            nonlocal last
            for number, line in source:
                last = number
                yield line

        reader = csv.reader(counted(), delimiter=delimiter, skipinitialspace=True)
        when, given, made = columns
        try:
            next(reader)
            for cells in reader:
                if len(cells) != width or not cells[made]:
                    if not any(cell.strip() for cell in cells):
                        continue
                    self._fit(last, cells, width)
                time = cells[when] if when >= 0 else 0
                yield self._row(last, names, time, cells[given], cells[made])
        except csv.Error as error:
            raise InputError(f"{self.at(last)}: not CSV: {error}") from None

    def _fit(self, number: int, cells: list[str], width: int) -> None:
        """Cut or fill a row to the header's width; InputError for more cells that say something."""
        if any(cell.strip() for cell in cells[width:]):
            raise InputError(f"{self.at(number)}: {len(cells)} cells where the header has {width}")
        cells[:] = (cells + [""] * width)[:width]

    def _of_objects(self, source: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[Row]:
        for number, entry in source:
            if self.form == "dynamo":
                found = self._recorded(number, entry)
                if found is None:
                    continue
                entry = found
            if self.form == "llmservingsim" and "sub_requests" in entry:
                yield from self._of_chain(number, entry)
            else:
                yield self._of_object(number, entry)

    def _of_object(self, number: int, entry: dict[str, Any]) -> Row:
        kind = JSON[self.form]
        names = [
            given[0] if given[0] in entry else next(filter(entry.__contains__, given), given[0])
            for given in (kind.time, kind.prompt, kind.output)
        ]
        session = entry.get("session_id")
        if session is not None and not isinstance(session, int | str):
            raise InputError(f"{self.at(number)}: session_id: expected a number or a string")
        delay = next((name for name in DELAYS if name in entry), None)
        waits = names[0] not in entry and delay is not None
        if entry.get("wait_for"):
            raise InputError(f"{self.at(number)}: wait_for: requests that wait for several others "
                             "are not supported")  # fmt: skip
        if waits and session is None:
            raise InputError(f"{self.at(number)}: {delay}: needs a session_id")
        if waits:
            assert delay is not None
            names[0] = delay
        for name in names:
            if name not in entry:
                raise InputError(f"{self.at(number)}: {name} is missing")
        row = self._row(number, names, *map(entry.__getitem__, names))
        if waits and row.time < 0:
            raise InputError(f"{self.at(number)}: {delay}: {row.time}: must not be negative")
        ids = self._ids(number, entry, row.prompt)
        if not ids and session is None:
            return row
        return row._replace(
            ids=ids,
            hash_tokens=entry.get("trace_block_size"),
            session=session,
            follows=session if waits else None,
        )

    def _of_chain(self, number: int, entry: dict[str, Any]) -> Iterator[Row]:
        """The calls of an agent's session, of which each starts when the one before has ended."""
        chain = entry["sub_requests"]
        if not isinstance(chain, list) or not chain:
            raise InputError(f"{self.at(number)}: sub_requests: expected a list of requests")
        delay: Any = 0
        for k, each in enumerate(chain):
            if not isinstance(each, dict):
                raise InputError(f"{self.at(number)}: sub_requests: {k}: expected an object")
            session = {"session_id": f"line {number}"}
            if k == 0:
                if "arrival_time_ns" in entry:
                    session["arrival_time_ns"] = entry["arrival_time_ns"]
            else:
                session["delay"] = delay
            own = {key: value for key, value in each.items() if key not in JSON[self.form].time}
            yield self._of_object(number, own | session)
            delay = each.get("tool_duration_ns", 0)

    def _recorded(self, number: int, entry: dict[str, Any]) -> dict[str, Any] | None:
        """A row of Dynamo's own record of requests, as Mooncake would write it; None: no request.

        Rows of Mooncake's form, which Dynamo's tools write too, are taken as they are.
        """
        if isinstance(entry.get("event"), dict):
            entry = entry["event"]
        if "schema" not in entry and "request" not in entry:
            return entry
        event = entry.get("event_type", "request_end")
        if isinstance(event, str) and event.startswith("tool_"):
            return None
        request = entry.get("request")
        if event != "request_end" or not isinstance(request, dict):
            raise InputError(
                f"{self.at(number)}: event_type {text.shown(event)}: expected 'request_end' with a "
                "request, or a 'tool_...'"
            )
        replay = request.get("replay") or {}
        if not isinstance(replay, dict):
            raise InputError(f"{self.at(number)}: request.replay: expected an object")
        known = {
            "timestamp": request.get("request_received_ms", entry.get("event_time_unix_ms")),
            "input_length": replay.get("input_length", request.get("input_tokens")),
            "output_length": request.get("output_tokens"),
            "hash_ids": replay.get("input_sequence_hashes"),
        }
        found = {key: value for key, value in known.items() if value is not None}
        if found.get("hash_ids"):
            size = text.whole(replay.get("trace_block_size"))
            if size is None or not 1 <= size <= MOST_TOKENS:
                raise InputError(
                    f"{self.at(number)}: request.replay.trace_block_size "
                    f"{text.shown(replay.get('trace_block_size'))}: expected tokens of a hash"
                )
            found["trace_block_size"] = size
        return found

    def _ids(self, number: int, entry: dict[str, Any], prompt: int) -> Sequence[Hashable]:
        key = "input_tok_ids" if self.form == "llmservingsim" else "hash_ids"
        found = entry.get(key)
        if found is None:
            return ()
        if not isinstance(found, list) or not set(map(type, found)) <= {int, str}:
            raise InputError(
                f"{self.at(number)}: {key}: expected a list of whole numbers or strings"
            )
        if self.form != "llmservingsim":
            return found
        if found and len(found) != prompt:
            raise InputError(
                f"{self.at(number)}: {key}: {len(found)} tokens where input_toks says {prompt}"
            )
        cuts = range(0, len(found), TOKEN_BLOCK)
        return [tuple(found[cut : cut + TOKEN_BLOCK]) for cut in cuts]

    def _row(self, number: int, names: Sequence[str], time: Any, prompt: Any, output: Any) -> Row:
        kind = FORMATS[self.form]
        found = text.nanoseconds(time) if kind.moments else text.number(time)
        if found is None or abs(found) > MOST_SECONDS * kind.per_second:
            expected = (
                "a time" if kind.moments or kind.per_second == SECOND else _UNITS[kind.per_second]
            )
            raise InputError(
                f"{self.at(number)}: {names[0]} {text.shown(time)}: not {expected}"
                + (" (expected YYYY-MM-DD HH:MM:SS)" if kind.moments else "")
            )
        made = self._tokens(number, names[2], output, 0)
        given = self._tokens(number, names[1], prompt, 1 if made else 0)
        return Row(found, given, made, (), None, number)

    def _tokens(self, number: int, name: str, value: object, least: int) -> int:
        count = text.whole(value)
        if count is None or not least <= count <= MOST_TOKENS:
            raise InputError(
                f"{self.at(number)}: {name} {text.shown(value)}: expected a whole number of "
                f"tokens, {least} to {MOST_TOKENS:,}"
            )
        return count


_UNITS = {MILLI: "milliseconds", NANO: "nanoseconds"}


class Request(NamedTuple):
    """One request to be written."""

    arrival_s: float
    prompt: int
    output: int
    prefix: Sequence[int]  # ids of its prefix blocks: an id stands for all that lies before, too


def _to_llmservingsim(requests: Iterable[Request], _: int) -> Iterator[str]:
    for each in requests:
        row = {
            "input_toks": each.prompt,
            "output_toks": each.output,
            "arrival_time_ns": round(each.arrival_s * NANO),
        }
        yield json.dumps(row)


def _to_vidur(requests: Iterable[Request], _: int) -> Iterator[str]:
    kind = CSV["vidur"]
    yield ",".join((*kind.time, *kind.prompt, *kind.output))
    for each in requests:
        yield f"{each.arrival_s!r},{each.prompt},{each.output}"


def _to_mooncake(requests: Iterable[Request], hash_tokens: int) -> Iterator[str]:
    """Of `hash_tokens` tokens behind an id, ids of 512; what shares nothing gets ids of its own."""
    given = list(requests)
    fresh = max((max(each.prefix) for each in given if each.prefix), default=-1) + 1
    for each in given:
        ids = []
        for start in range(0, each.prompt, MOONCAKE_BLOCK):
            holder = (min(start + MOONCAKE_BLOCK, each.prompt) - 1) // hash_tokens
            if holder < len(each.prefix):
                ids.append(each.prefix[holder])
            else:
                ids.append(fresh)
                fresh += 1
        yield json.dumps(
            {
                "timestamp": round(each.arrival_s * MILLI),
                "input_length": each.prompt,
                "output_length": each.output,
                "hash_ids": ids,
            }
        )


# Lines of a file, from requests and the tokens behind a prefix id.
WRITERS: dict[str, Callable[[Iterable[Request], int], Iterator[str]]] = {
    "llmservingsim": _to_llmservingsim,
    "vidur": _to_vidur,
    "mooncake": _to_mooncake,
}
