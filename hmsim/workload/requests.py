"""Real requests: arrivals, prompt and output lengths, shared prefixes, from published traces."""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hmsim import files, machine
from hmsim.config.workload import SyntheticRequests
from hmsim.errors import InputError, did_you_mean
from hmsim.workload.steps import F64, I64

MOONCAKE_BLOCK = 512  # tokens behind one hash id
MOST_TEXT = 1 << 30  # bytes of a file of requests
MOST_TOKENS = 1 << 31  # of a prompt, and of an output
MOST_SECONDS = 1e12
HELD_BYTES = 400  # of memory, for one made-up request on its way to a schedule


class Requests(NamedTuple):
    """R requests in order of arrival. `hashes[r]`: ids of the prompt's prefix blocks, or empty."""

    arrival_s: F64  # [R], from the first request on
    prompt: I64  # [R] tokens
    output: I64  # [R] tokens
    hashes: list[list[int]]  # equal id: same tokens, and same before them


def read_requests(path: Path, form: str | None = None) -> Requests:
    """The requests in `path`. `form`: a key of READERS, or None to tell it from the content.

    Raises InputError with the line number for lengths that are not positive whole numbers and for
    times that are malformed or out of order.
    """
    lines = files.read_text(path, MOST_TEXT).splitlines()
    if not any(lines):
        raise InputError(f"{path}: empty; expected requests, one a line")
    rows = list(READERS[form or _detect(path, lines[0])](path, lines))
    if not rows:
        raise InputError(f"{path}: holds no request")
    times = np.array([row[0] for row in rows])
    late = np.flatnonzero(np.diff(times) < 0)
    if late.size:
        raise InputError(f"{path}: line {rows[late[0] + 1][4]}: arrives before the line above it")
    return Requests(
        times - times[0],
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.int64),
        [row[3] for row in rows],
    )


Row = tuple[float, int, int, list[int], int]  # seconds, prompt, output, hashes, line number


def _detect(path: Path, first: str) -> str:
    if first.lstrip().startswith("{"):
        return "mooncake"
    header = [cell.strip() for cell in first.split(",")]
    for form, columns in COLUMNS.items():
        if set(columns) <= set(header):
            return form
    known = "; ".join(f"{form}: {', '.join(columns)}" for form, columns in COLUMNS.items())
    raise InputError(f"{path}: neither Mooncake JSON lines nor a known CSV header ({known})")


def _mooncake(path: Path, lines: list[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        row = files.parse_json(line, where)
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected an object")
        for key in ("timestamp", "input_length", "output_length"):
            if key not in row:
                raise InputError(f"{where}: {key} is missing")
        prompt = _length(where, "input_length", row["input_length"])
        output = _length(where, "output_length", row["output_length"])
        hashes = row.get("hash_ids", [])
        if not isinstance(hashes, list) or not all(
            type(h) is int and abs(h) < 1 << 62 for h in hashes
        ):
            raise InputError(f"{where}: hash_ids: expected a list of whole numbers")
        if hashes and len(hashes) != -(-prompt // MOONCAKE_BLOCK):
            raise InputError(
                f"{where}: {len(hashes)} hash_ids for {prompt} tokens; one per {MOONCAKE_BLOCK}"
            )
        yield _milliseconds(where, row["timestamp"]), prompt, output, hashes, number


def _milliseconds(where: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and abs(value) <= MOST_SECONDS * 1e3:
        return value / 1e3
    raise InputError(f"{where}: timestamp {value!r:.40}: expected milliseconds")


# Columns by form: arrival, prompt, output.
COLUMNS = {
    "azure": ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    "vidur": ("arrived_at", "num_prefill_tokens", "num_decode_tokens"),
}


def _azure(path: Path, lines: list[str]) -> Iterator[Row]:
    return _csv(path, lines, COLUMNS["azure"], _timestamp)


def _vidur(path: Path, lines: list[str]) -> Iterator[Row]:
    return _csv(path, lines, COLUMNS["vidur"], float)


def _csv(path: Path, lines: list[str], columns: tuple[str, ...], seconds: Any) -> Iterator[Row]:
    reader = csv.DictReader(lines)
    missing = set(columns) - set(reader.fieldnames or ())
    if missing:
        raise InputError(f"{path}: line 1: column {sorted(missing)[0]} is missing")
    arrival, prompt, output = columns
    for row in reader:
        where = f"{path}: line {reader.line_num}"
        try:
            time = seconds(row[arrival])
        except (ValueError, TypeError, OverflowError, AttributeError):
            raise InputError(f"{where}: {arrival} {row[arrival]!r}: not a time") from None
        if not abs(time) <= MOST_SECONDS:
            raise InputError(f"{where}: {arrival} {row[arrival]!r}: not a time")
        yield (
            time,
            _length(where, prompt, row[prompt]),
            _length(where, output, row[output]),
            [],
            reader.line_num,
        )


def _timestamp(text: str) -> float:
    """Seconds of a time such as `2023-11-16 18:15:46.6805900`."""
    whole, _, fraction = text.strip().partition(".")
    moment = datetime.fromisoformat(whole + "+00:00").timestamp()
    return moment + (float(f"0.{fraction}") if fraction else 0.0)


def _length(where: str, key: str, value: object) -> int:
    """A positive whole number of tokens, from a number or its decimal text."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_TOKENS:
        raise InputError(
            f"{where}: {key} {value!r:.40}: expected a whole number of tokens, 1 to {MOST_TOKENS:,}"
        )
    return value


READERS = {"mooncake": _mooncake, "azure": _azure, "vidur": _vidur}


def synthetic_requests(spec: SyntheticRequests, seed: int) -> Requests:
    """Requests from distributions, the same for the same seed."""
    machine.need_memory(HELD_BYTES * spec.count, f"workload.requests: {spec.count:,} requests")
    rng = np.random.Generator(np.random.Philox(seed))
    gaps = rng.exponential(1 / spec.rate, spec.count)
    prompt = spec.prompt_median * np.exp(spec.prompt_sigma * rng.standard_normal(spec.count))
    output = spec.output_median * np.exp(spec.output_sigma * rng.standard_normal(spec.count))
    prompt = np.clip(np.rint(prompt), 1, spec.longest - 1).astype(np.int64)
    output = np.clip(np.rint(output), 1, spec.longest - prompt).astype(np.int64)
    return Requests(np.cumsum(gaps) - gaps[0], prompt, output, [[] for _ in range(spec.count)])


def write_requests(
    requests: Requests, form: str, path: Path, inputs: Iterable[str | Path] = ()
) -> None:
    """Write requests for another tool: 'llmservingsim', 'vidur' or 'mooncake'."""
    if form not in WRITERS:
        raise InputError(f"format {form!r}: unknown{did_you_mean(form, WRITERS)}")
    files.write_text(path, "".join(f"{line}\n" for line in WRITERS[form](requests)), inputs)


def _to_llmservingsim(requests: Requests) -> Iterator[str]:
    for time, prompt, output in _lengths(requests):
        row = {"input_toks": prompt, "output_toks": output, "arrival_time_ns": round(time * 1e9)}
        yield json.dumps(row)


def _to_vidur(requests: Requests) -> Iterator[str]:
    yield ",".join(COLUMNS["vidur"])
    for time, prompt, output in _lengths(requests):
        yield f"{time!r},{prompt},{output}"


def _to_mooncake(requests: Requests) -> Iterator[str]:
    """Requests that share nothing get hash ids of their own."""
    fresh = max((max(ids) for ids in requests.hashes if ids), default=-1) + 1
    for (time, prompt, output), ids in zip(_lengths(requests), requests.hashes, strict=True):
        blocks = -(-prompt // MOONCAKE_BLOCK)
        if not ids:
            ids, fresh = list(range(fresh, fresh + blocks)), fresh + blocks
        yield json.dumps(
            {
                "timestamp": round(time * 1e3),
                "input_length": prompt,
                "output_length": output,
                "hash_ids": ids,
            }
        )


def _lengths(requests: Requests) -> Iterator[tuple[float, int, int]]:
    columns = requests.arrival_s, requests.prompt, requests.output
    return zip(*(column.tolist() for column in columns), strict=True)


WRITERS = {"llmservingsim": _to_llmservingsim, "vidur": _to_vidur, "mooncake": _to_mooncake}
