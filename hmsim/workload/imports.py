"""Files of other tools as trace files, or as plain address traces for `hmsim replay`."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import hmsim
from hmsim import files, machine
from hmsim.config.base import Strict, load
from hmsim.config.model import resolve_model
from hmsim.config.workload import ModelChoice, WorkloadSpec
from hmsim.errors import InputError, did_you_mean
from hmsim.exchange import memory_traces as addresses
from hmsim.exchange import selection_logs
from hmsim.exchange.request_formats import FORMATS as REQUESTS
from hmsim.exchange.request_formats import RequestFile
from hmsim.store.trace import Blocks, Header, Slab, write_trace
from hmsim.workload.matrix import matrix_shape
from hmsim.workload.open import open_workload
from hmsim.workload.selections import DEFAULTS, SelectionSpec, import_selections
from hmsim.workload.steps import F64, I64
from hmsim.workload.trace import save

FORMATS = (*REQUESTS, *selection_logs.READERS, "authors", "matrix", *addresses.READERS)
SLAB_STEPS = 1024
LONGEST_LINE = 64 << 20  # bytes: a line holds all the tokens of a step

# What becomes of requests unless the caller says otherwise.
BATCH = {"model": "llama-3.1-8b", "block_tokens": 16}
SPARSITY = {"sparsity": 0.9}  # of the kind that has one, unless another is asked for


class ModelKey(Strict):
    """The one setting of an import of the founding authors' trace."""

    model: ModelChoice


def import_file(
    path: Path,
    form: str | None,
    out: Path,
    changes: dict[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Turn a file of another tool into a trace file, or into a plain address trace.

    Requests and score matrices become trace files by way of a spec; so do logged selections and the
    founding authors' CSV without one; address traces become plain ones for `hmsim replay`. No
    partial file stays behind.

    Args:
        path: The other tool's file.
        form: One of FORMATS; docs/workloads.md describes them. None: told from the name or the
            content, which is done for selections, matrices and requests.
        out: The file to write.
        changes: Keys of the spec that requests or a matrix go into, such as
            `{"requests": {"batch": 64}}`; of `hmsim.workload.selections.SelectionSpec`; of the
            authors' CSV, `model` alone.
        progress: Called with the number of steps done so far.

    Raises:
        InputError: The format is unknown, the file is missing or malformed (with its line), a key
            is wrong, or `out` cannot be written.
    """
    changes = changes or {}
    form = form or _told(path)
    if form not in FORMATS:
        raise InputError(f"format {form!r}: unknown{did_you_mean(form, FORMATS)}")
    if form in addresses.READERS or form == "authors":
        known = ["model"] if form == "authors" else []
        for key in changes:
            if key not in known:
                allowed = f"only {known[0]} can be set" if known else "nothing can be set"
                raise InputError(f"import {path}: {key}: with --from {form} {allowed}")
    if form in addresses.READERS:
        addresses.write_plain(addresses.read_addresses(path, form), out, [path])
    elif form in selection_logs.READERS:
        given = load(SelectionSpec, DEFAULTS[form] | changes, f"import {path}")
        import_selections(path, form, out, given, progress)
    elif form == "authors":
        import_authors(path, out, changes.get("model", "llama-3.1-8b-paper"), progress)
    else:
        data = _batch(path, form, changes) if form in REQUESTS else _matrix(path, changes)
        save(open_workload(load(WorkloadSpec, data, f"import {path}")), out, progress, [path])


def _told(path: Path) -> str:
    """The format of selections, of a matrix, or of requests."""
    if path.suffix in (".npz", ".h5", ".hdf5"):
        return "matrix"
    form = selection_logs.told(path)
    if form is not None:
        return form
    try:
        return RequestFile(path).form
    except InputError as error:
        raise InputError(f"{error} (taken for requests, as --from names no format)") from None


def _batch(path: Path, form: str, changes: dict[str, Any]) -> dict[str, Any]:
    requests = {"path": str(path), "format": form} | _table(path, changes, "requests")
    for key in ("trace", "tokens", "copies"):
        if key in changes:
            raise InputError(f"import {path}: {key}: the sequences are the file's requests")
    kind = {} if "kind" in changes else SPARSITY
    return BATCH | kind | changes | {"requests": requests}


def _table(path: Path, changes: dict[str, Any], key: str) -> dict[str, Any]:
    found = changes.get(key, {})
    if not isinstance(found, dict):
        raise InputError(f"import {path}: {key}: {found!r:.60}: expected a table")
    return found


def _matrix(path: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """A spec whose steps and layers are those of the matrix, the last step with all its tokens."""
    given = {"path": str(path)} | _table(path, changes, "matrix")
    if not isinstance(given.get("dataset", ""), str):
        raise InputError(
            f"import {path}: matrix.dataset: {given['dataset']!r:.60}: expected a name"
        )
    for key in ("trace", "kind", "requests"):
        if key in changes:
            raise InputError(f"import {path}: {key}: the file is a matrix of attention scores")
    steps, layers, past = matrix_shape(path, given.get("dataset", "scores"))
    base = {"kind": "matrix", "layers": layers, "tokens": [past - steps + 1, past]}
    return base | changes | {"matrix": given}


def import_authors(
    path: Path, out: Path, model: str, progress: Callable[[int], None] | None = None
) -> None:
    """The founding authors' trace: a line `n,l,"[token,token,...]"` for every step.

    Blocks are single tokens; those below the first n are the prompt, and token n is appended at
    its own steps. Two passes, the first for the numbers of tokens and layers alone.
    """
    first, last, layers, steps = _extent(path)
    sizes = resolve_model(load(ModelKey, {"model": model}, f"import {path}").model)
    width = last + 1
    machine.need_memory(100 * layers * width, f"{path}: {layers} layers of {width:,} tokens")
    layer, position = np.divmod(np.arange(layers * width), width)
    birth = np.where(position < first, -1, (position - first) * layers + layer)
    blocks = Blocks(layer, np.zeros_like(layer), position, birth, np.full_like(birth, steps))
    header = Header(
        block_bytes=sizes.kv_bytes,
        layers=layers,
        resident_bytes=sizes.resident,
        title=path.name,
        created_by=f"hmsim {hmsim.__version__}",
    )
    weights = np.array([sizes.weights_step(layer=i) for i in range(layers)])
    slabs = _slabs(path, first, layers, width, sizes.kv_bytes, weights, progress)
    write_trace(out, header, blocks, slabs, [path])


def _slabs(
    path: Path,
    first: int,
    layers: int,
    width: int,
    entry: int,
    weights: F64,
    progress: Callable[[int], None] | None,
) -> Iterator[Slab]:
    rows: list[tuple[int, int, I64]] = []
    done = 0

    def slab() -> Slab:
        token = np.array([n for n, _, _ in rows])
        layer = np.array([lane for _, lane, _ in rows])
        lengths = [read.size for _, _, read in rows]
        return Slab(
            done, token, layer,
            weights[layer], np.zeros(len(rows)),
            np.append(0, np.cumsum(lengths)),
            np.concatenate([lane * width + read for _, lane, read in rows]),
            np.arange(len(rows) + 1), layer * width + token, np.full(len(rows), entry),
        )  # fmt: skip

    for step, (number, n, lane, text) in enumerate(_rows(path)):
        if (n, lane) != (first + step // layers, step % layers):
            raise InputError(
                f"{path}: line {number}: step ({n}, {lane}): expected "
                f"({first + step // layers}, {step % layers}); n outer, l inner, none missing"
            )
        rows.append((n, lane, _tokens(path, number, n, text)))
        if len(rows) == SLAB_STEPS:
            yield slab()
            done += len(rows)
            rows.clear()
            if progress is not None:
                progress(done)
    if rows:
        yield slab()


def _extent(path: Path) -> tuple[int, int, int, int]:
    """First and last n, layers and steps of the file."""
    first = last = None
    layers = steps = 0
    for _, n, lane, _ in _rows(path):
        first = n if first is None else first
        last, layers, steps = n, max(layers, lane + 1), steps + 1
    if first is None or last is None:
        raise InputError(f"{path}: holds no step")
    if steps != (last - first + 1) * layers:
        raise InputError(
            f"{path}: {steps} steps are not {last - first + 1} tokens of {layers} layers"
        )
    return first, last, layers, steps


def _rows(path: Path) -> Iterator[tuple[int, int, int, str]]:
    """Line number, n, l and the text of the tokens; a header line is skipped."""
    with files.reading(path) as file:
        for number in itertools.count(1):
            raw = file.readline(LONGEST_LINE)
            if not raw:
                return
            line = raw.decode("ascii", "replace").strip()
            n, _, rest = line.partition(",")
            lane, _, tokens = rest.partition(",")
            tokens = tokens.strip('" ')
            if _index(n) and _index(lane) and tokens[:1] + tokens[-1:] == "[]":
                yield number, int(n), int(lane), tokens[1:-1]
            elif number > 1 and line:
                raise InputError(f'{path}: line {number}: expected n,l,"[token,token,...]"')


def _index(text: str) -> bool:
    """A whole number below a thousand millions."""
    return text.isdecimal() and text.isascii() and len(text) < 10


def _tokens(path: Path, number: int, n: int, text: str) -> I64:
    try:
        read = np.array(text.split(",") if text.strip() else [], np.int64)
    except (ValueError, OverflowError):
        raise InputError(f"{path}: line {number}: tokens must be whole numbers") from None
    read.sort()
    if read.size and (read[0] < 0 or read[-1] >= n or (np.diff(read) == 0).any()):
        raise InputError(
            f"{path}: line {number}: tokens of step {n} must be of 0 .. {n - 1}, each once"
        )
    return read
