"""Logged selections: which tokens or blocks a sparse attention chose, step by step.

Whatever the form, a log is a table of entries, one for each step, sequence and layer. What they
select can be larger than memory: it goes through a temporary file on its way.
"""

import re
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmsim import files
from hmsim.errors import InputError
from hmsim.exchange import text

I64 = NDArray[np.int64]

MOST = 1 << 31  # of a step, a layer, a token or a block
MOST_LAYERS = 1 << 15
HEADER = ("step", "sequence", "layer", "tokens")  # of our CSV, and one of the two that follow
SELECTED = ("selected_tokens", "selected_blocks")
_DSA = ("step_idx", "layer_id", "seq_len_current", "selected_token_pos")
_LAST_NUMBER = re.compile(r"(\d+)\D*$", re.ASCII)


class Log(NamedTuple):
    """E entries, in the file's order."""

    step: I64  # [E] as the log counts
    sequence: I64  # [E] from 0, in the order in which they appear
    layer: I64  # [E]
    tokens: I64  # [E] of the sequence, with the one that the step makes; -1: the log does not say
    place: I64  # [E] line; or the entry's own number, where there are no lines
    offset: I64  # [E + 1]
    selected: NDArray[np.int64]  # entry e selects selected[offset[e] : offset[e + 1]], ascending
    blocks: bool  # whether those are numbers of blocks; else of tokens


class _Writer:
    """A log while it grows."""

    def __init__(self, spool: BinaryIO, blocks: bool) -> None:
        self._spool, self._blocks = spool, blocks
        self._columns = [array("q") for _ in range(5)]
        self._counts = array("q")

    def add(
        self, step: int, sequence: int, layer: int, tokens: int, place: int, selected: I64
    ) -> None:
        for column, value in zip(
            self._columns, (step, sequence, layer, tokens, place), strict=True
        ):
            column.append(value)
        self._counts.append(selected.size)
        self._spool.write(selected.tobytes())

    def finish(self, path: Path) -> Log:
        if not self._counts:
            raise InputError(f"{path}: holds no selection")
        self._spool.flush()
        offset = np.append(0, np.cumsum(np.frombuffer(self._counts, np.int64)))
        selected: NDArray[np.int64] = np.zeros(0, np.int64)
        if offset[-1]:
            selected = np.memmap(self._spool, np.int64, "r")
        step, sequence, layer, tokens, place = (
            np.frombuffer(column, np.int64) for column in self._columns
        )
        return Log(step, sequence, layer, tokens, place, offset, selected, self._blocks)


@contextmanager
def reading(path: Path, form: str) -> Iterator[Log]:
    """The log in `path`, in a form of READERS; it is there until the block ends.

    Raises InputError for a file that is missing or malformed, with its line.
    """
    with tempfile.TemporaryFile(prefix="hmsim-") as spool:
        yield READERS[form](path, spool)


def told(path: Path) -> str | None:
    """The form of a log, from its name or its first line; None if it is none."""
    if path.suffix == ".npy" or path.is_dir():
        return "blocks"
    first = next((line for _, line in text.lines(path) if line.strip()), "")
    if first.lstrip().startswith("{"):
        row = files.parse_json(first, f"{path}: line 1")
        return "dsa" if isinstance(row, dict) and "selected_token_pos" in row else None
    header = _cells(first.lower())
    return "selections" if "layer" in header and not set(SELECTED).isdisjoint(header) else None


def _dsa(path: Path, spool: BinaryIO) -> Log:
    """JSON lines of DeepSeek sparse attention: one for each step, request and layer."""
    log, sequences = _Writer(spool, blocks=False), dict[Any, int]()
    for number, line in text.lines(path):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        row = files.parse_json(line, where)
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected an object")
        for key in _DSA:
            if key not in row:
                raise InputError(f"{where}: {key} is missing")
        step = _whole(where, "step_idx", row["step_idx"], 0, MOST)
        layer = _whole(where, "layer_id", row["layer_id"], 0, MOST_LAYERS)
        tokens = _whole(where, "seq_len_current", row["seq_len_current"], 1, MOST)
        request = row.get("request_id", 0)
        if not isinstance(request, int | str):
            raise InputError(f"{where}: request_id: expected a number or a string")
        given = row["selected_token_pos"]
        if not isinstance(given, list) or not set(map(type, given)) <= {int}:
            raise InputError(f"{where}: selected_token_pos: expected a list of whole numbers")
        selected = _checked(where, "selected_token_pos", given, tokens)
        sequence = sequences.setdefault(request, len(sequences))
        log.add(step, sequence, layer, tokens, number, selected)
    return log.finish(path)


def _selections(path: Path, spool: BinaryIO) -> Log:
    """Our own CSV: step,sequence,layer,tokens and selected_tokens or selected_blocks."""
    source = text.lines(path)
    number, first = next(((n, line) for n, line in source if line.strip()), (1, ""))
    header = _cells(first.lower())
    selects = [name for name in SELECTED if name in header]
    missing = [name for name in HEADER if name not in header]
    if len(selects) != 1 or missing:
        raise InputError(
            f"{path}: line {number}: expected the columns {', '.join(HEADER)} and one of "
            f"{' and '.join(SELECTED)}"
        )
    blocks = selects[0] == "selected_blocks"
    log, sequences = _Writer(spool, blocks), dict[str, int]()
    columns = [header.index(name) for name in (*HEADER, selects[0])]
    for number, line in source:
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        cells = _cells(line)
        if len(cells) != len(header):
            raise InputError(f"{where}: {len(cells)} cells where the header has {len(header)}")
        step, sequence, layer, tokens, given = (cells[column].strip() for column in columns)
        count = _whole(where, "tokens", tokens, 1, MOST)
        try:
            listed = [int(each) for each in given.strip("[]").replace(";", " ").split()]
        except ValueError:
            raise InputError(
                f"{where}: {selects[0]} {given!r:.40}: expected whole numbers divided by blanks"
            ) from None
        log.add(
            _whole(where, "step", step, 0, MOST),
            sequences.setdefault(sequence, len(sequences)),
            _whole(where, "layer", layer, 0, MOST_LAYERS),
            count,
            number,
            _checked(where, selects[0], listed, MOST if blocks else count),
        )
    return log.finish(path)


def _cells(line: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(",")]


def _blocks(path: Path, spool: BinaryIO) -> Log:
    """Numbers of blocks: an array [step, layer, head group, k], or a folder of one a layer.

    A layer reads what any of its head groups selects; negative numbers fill up.
    """
    log = _Writer(spool, blocks=True)
    for layer, array_ in sorted(_layers(path).items()):
        for step in range(len(array_)):
            chosen = np.unique(array_[step])
            chosen = chosen[chosen >= 0].astype(np.int64)
            if chosen.size and chosen[-1] >= MOST:
                raise InputError(f"{path}: step {step}, layer {layer}: block {chosen[-1]}: absurd")
            log.add(step, 0, layer, -1, step, chosen)
    return log.finish(path)


def _layers(path: Path) -> dict[int, NDArray[Any]]:
    """Numbers of blocks [step, ...] by layer."""
    if not path.is_dir():
        whole = _load(path)
        if whole.ndim != 4:
            raise InputError(
                f"{path}: {whole.dtype} of shape {whole.shape}: expected [step, layer, head group, "
                "k]; of one file a layer, give the folder"
            )
        return {layer: whole[:, layer] for layer in range(whole.shape[1])}
    found: dict[int, NDArray[Any]] = {}
    for file in sorted(path.glob("*.npy")):
        number = _LAST_NUMBER.search(file.stem)
        if number is None or len(number[1]) > 4:
            raise InputError(f"{file}: its name must end in the number of its layer")
        layer, one = int(number[1]), _load(file)
        if layer in found:
            raise InputError(f"{file}: a second file of layer {layer}")
        if one.ndim not in (2, 3):
            raise InputError(f"{file}: shape {one.shape}: expected [step, head group, k]")
        if found and len(one) != len(next(iter(found.values()))):
            steps = len(next(iter(found.values())))
            raise InputError(f"{file}: {len(one)} steps where those before have {steps}")
        found[layer] = one
    if not found:
        raise InputError(f"{path}: a folder without .npy files; expected one a layer")
    return found


def _load(path: Path) -> NDArray[Any]:
    with files.reading(path):  # for what is missing, a device, or may not be read
        pass
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError) as error:
        raise InputError(
            f"{path}: not a readable .npy file of numbers ({files.first_line(error)})"
        ) from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iu":
        raise InputError(f"{path}: expected an array of whole numbers, those of blocks")
    return found


def _whole(where: str, name: str, value: object, least: int, most: int) -> int:
    found = text.whole(value)
    if found is None or not least <= found <= most:
        raise InputError(
            f"{where}: {name} {text.shown(value)}: expected a whole number, {least} to {most:,}"
        )
    return found


def _checked(where: str, name: str, given: Sequence[int], end: int) -> I64:
    """Numbers below `end`, each once and ascending; -1, with which kernels fill up, is left out."""
    if given and not (min(given) >= -1 and max(given) < end):
        raise InputError(f"{where}: {name}: expected numbers of 0 to {end - 1:,}, or -1 for none")
    found = np.unique(np.array(given, np.int64))
    return found[1:] if found.size and found[0] < 0 else found


READERS = {"dsa": _dsa, "blocks": _blocks, "selections": _selections}
