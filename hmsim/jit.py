"""The one home of the compiler: no other file of hmsim calls Numba's `njit`.

    @kernel             a compiled function; it releases the interpreter lock and is cached on disk
    @inlined            the same, always inlined into its callers
    @compiled_for(SIG)  a kernel compiled for one signature, as soon as it is defined
    @record_kernel, @record_inlined, @record_expanded
                        kernels over flat records of int64, whose indices are never negative

**The cache.** Numba caches machine code by the source of the kernel's own file alone, but kernels
call kernels and read constants of other files, so an edit there would leave stale machine code in
use. hmsim's cache is stamped with every source file of the package that the kernel's file imports,
directly or not (`hmsim.sources`): what an edit can reach is compiled anew, and nothing else.
The same holds for a user's policy, whose file stands outside the package. Of several processes that
need the same kernel at once (workers of a sweep, or of tests) one compiles it; the others wait, and
find it in the cache.

**Levels.** What a kernel calls is optimised again as a part of it, at every level of calls: eight
levels over a large loop take eight times as long. `record_expanded` (as `inlined`) saves a level;
in a function that grows beyond a few hundred lines by it, typing takes longer than what is saved.

**Signatures.** A kernel is compiled once for the types of its arguments. Numba would do so again for
every constant that another kernel hands to it: `_call_template` hides their values.

**Wrappers.** What makes a kernel of Python's objects, and of C's arguments, takes a third of its
compile time, and again at each level above it. Python calls few kernels; so what kernels call is
compiled apart, without them (`_BARE`), and a kernel that both call is compiled twice.

**Records.** Numba must allow for an index of -1 meaning "the last" at every access, which costs the
memory kernels a third of their speed. `record_kernel` takes every index as unsigned
(`hmsim.elements`). These kernels do not allocate, hence no reference counts (`_nrt`), and none divides
by a zero that should raise (`error_model`).
"""

import ast
import builtins
import inspect
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from numba import config, get_num_threads, njit, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.typing import Signature

from hmsim import elements
from hmsim.sources import source_fingerprint

_RECORD: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
_BARE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_one_at_a_time = Lock()
LONGEST_COMPILE_SECONDS = 300  # of one kernel, with those that it calls, on a slow and busy machine


def kernel(function: Callable) -> Any:
    """Compile `function` when it is first called with new types; cached on disk."""
    return _cached(function)


def inlined(function: Callable) -> Any:
    """As `kernel`, and inlined into its callers before they are typed."""
    return _cached(function, inline="always")


def compiled_for(signature: Any, handed_on: bool = True) -> Callable[[Callable], Any]:
    """As `kernel`, for this one Numba signature, at once (or from the cache on disk). Where it is not
    `handed_on` to other kernels as an argument, it needs no wrapper for that."""
    return lambda function: compiled(_cached(function, no_cfunc_wrapper=not handed_on), signature)


def compiled(dispatcher: Any, signature: Any) -> Any:
    """The same kernel, for this one signature from now on, and compiled for it; once, whoever asks."""
    if not config.DISABLE_JIT:  # type: ignore[attr-defined]
        with _one_at_a_time:
            if dispatcher._can_compile:
                dispatcher.compile(signature)
                dispatcher.disable_compile()
    return dispatcher


def record_kernel(function: Callable) -> Any:
    """As `kernel`, with every index taken as unsigned (see the module's text)."""
    return _cached(_with_plain_elements(function), **_RECORD)


def record_inlined(function: Callable) -> Any:
    """As `record_kernel`, and always inlined by LLVM: for what runs at every DRAM command."""
    return _cached(_with_plain_elements(function), forceinline=True, **_RECORD)


def record_expanded(function: Callable) -> Any:
    """As `record_kernel`, and part of its callers before they are typed: not compiled by itself."""
    return _cached(_with_plain_elements(function), inline="always", **_RECORD)


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Call `work(0)` .. `work(count - 1)`, side by side where they run kernels; all have ended after.

    None may write, or add as much as a zero, to an element of an array that another writes.

    The threads are kept from call to call: to start one takes longer than many a kernel. What none
    of them has begun when this thread is free, it does itself, so calls may be made within calls.
    """
    others = [_pool().submit(work, i) for i in range(1, count)]
    try:
        if count:
            work(0)
        for i, other in enumerate(others, 1):
            if other.cancel():
                work(i)
            else:
                other.result()
    finally:
        for other in others:
            other.cancel()
        wait(others)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def threads(most: int) -> int:
    """How many threads work for `most` hands may use: Numba's number, if that is less."""
    return max(1, min(most, get_num_threads()))


def is_cached(dispatcher: Any) -> bool:
    """Whether a kernel need not be compiled: it has been, or lies in the cache, or the JIT is off."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return True
    return bool(dispatcher.overloads or dispatcher._cache._cache_file._load_index())


def machine_code(dispatcher: Any, arguments: tuple[Any, ...]) -> tuple[str, Any, bytes] | None:
    """What a kernel is compiled to for these types of arguments, as the cache on disk has it: the
    name of its function, the type of its result, and an object file; None where it is not there."""
    key = dispatcher._cache._index_key(arguments, dispatcher.targetctx.codegen())
    found = dispatcher._cache._cache_file.load(key)
    if found is None:
        return None
    (_, kind, content), described = found[:2]
    return (described.llvm_func_name, described.restype, content[0]) if kind == "object" else None


def cache_environment() -> dict[str, str]:
    """What makes another process use this one's cache."""
    folder = config.CACHE_DIR  # type: ignore[attr-defined]
    return {"NUMBA_CACHE_DIR": folder} if folder else {}


class _CacheFile(IndexDataCacheFile):
    """Numba's files of one kernel. It reads the types that are in them before it looks at the stamp:
    where an earlier hmsim had a class that has moved since, there is nothing to load."""

    def _load_index(self) -> dict:
        try:
            return super()._load_index()
        except (ImportError, AttributeError):
            return {}

    def load(self, key: Any) -> Any:
        try:
            return super().load(key)
        except (ImportError, AttributeError):  # the file was imported by another name then
            return None


class _Cache(FunctionCache):
    """Numba's cache on disk, stamped with all sources that the machine code can depend on."""

    _suffix = ""  # of the names of its files
    _turn: Any = None  # the lock that this process holds while it compiles the kernel

    def __init__(self, function: Callable) -> None:
        try:
            super().__init__(function)
        except RuntimeError:  # no folder of Numba's own choice can be written
            _use_temporary_folder()
            super().__init__(function)
        source = Path(inspect.getfile(function))
        if source.exists():  # not so at an interactive prompt, where Numba's own stamp serves
            self._cache_file = _CacheFile(
                self._cache_path, self._file_name, source_fingerprint(source)
            )

    @property
    def _file_name(self) -> str:
        return self._impl.filename_base + self._suffix

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What is in the cache, if need be after another process has compiled it. Where nothing is
        found, Numba compiles, and then calls `save_overload`."""
        _import_numpy_functions()
        types = _types(sig)
        found = super().load_overload(types, target_context)
        if found is None and self._take_turn():
            found = super().load_overload(types, target_context)
            if found is not None:
                self._end_turn()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(_types(sig), data)
        finally:
            self._end_turn()

    def _take_turn(self) -> bool:
        """Wait until no other process compiles this kernel; False if it cannot be told.

        A process whose compiling has failed keeps its turn until it ends: nobody waits for that.
        """
        from filelock import FileLock, Timeout

        if self._turn is None:
            name = f".{self._file_name}.lock"
            self._turn = FileLock(Path(self._cache_path) / name, thread_local=False)
        try:
            self._impl.locator.ensure_cache_path()
            self._turn.acquire(timeout=LONGEST_COMPILE_SECONDS)
        except (OSError, Timeout):
            return False
        return True

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turn.release(force=True)


class _BareCache(_Cache):
    """The same of the kernel without wrappers."""

    _suffix = ".bare"


@cache
def _import_numpy_functions() -> None:
    """Import what Numba knows of NumPy, which it would do now, but without a look at whether SciPy
    has a BLAS: that imports `scipy.linalg`, which takes as long as Numba itself. Kernels that need a
    BLAS look for it when they are compiled."""
    from numba.np import linalg

    look = getattr(linalg, "ensure_blas", None)
    if look is None:  # another Numba than is known here
        return
    linalg.ensure_blas = lambda: None
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        linalg.ensure_blas = look


def _types(sig: Any) -> Any:
    """The types of the arguments alone: with the type of the result beside them, as where a kernel is
    handed to another, Numba would keep, and make, the same machine code twice."""
    return sig.args if isinstance(sig, Signature) else sig


def _cached(function: Callable, **options: Any) -> Any:
    """The kernel that Python calls; where kernels call it, they call one without wrappers, which is
    made when the first of them is compiled."""
    dispatcher = njit(nogil=True, **options)(function)
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return dispatcher
    # Else the function was made by `exec`: there is nothing to stamp.
    kept = Path(inspect.getfile(function)).exists() or hasattr(builtins, "__IPYTHON__")
    if kept:
        dispatcher._cache = _Cache(function)

    @cache
    def bare() -> Any:
        made = njit(nogil=True, **(options | _BARE))(function)
        if kept:
            made._cache = _BareCache(function)
        return made

    dispatcher.get_call_template = lambda *types: _call_template(bare(), *types)
    dispatcher.get_overload = lambda signature: bare().get_overload(signature)
    return dispatcher


def _call_template(dispatcher: Any, arguments: Any, named: Any) -> Any:
    """What Numba asks a dispatcher for where a kernel calls it: for the types of the arguments, and
    not for the values that constants among them have."""
    arguments = tuple(map(types.unliteral, arguments))
    named = {name: types.unliteral(each) for name, each in named.items()}
    return dispatcher.get_call_template(arguments, named)


@cache
def _use_temporary_folder() -> None:
    folder = tempfile.mkdtemp(prefix="hmsim-kernels-")
    config.CACHE_DIR = folder  # type: ignore[attr-defined]
    warnings.warn(
        "compiled kernels cannot be kept: neither the installation nor a cache folder can be "
        f"written; this process uses {folder} (set NUMBA_CACHE_DIR to keep them)",
        stacklevel=2,
    )


def _with_plain_elements(function: Callable) -> Callable:
    """The same function, from the same file and line, its indices taken as unsigned."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return function
    file = inspect.getfile(function)
    definition = _definitions(Path(file).read_bytes())[function.__code__.co_firstlineno]
    function.__globals__.update(elements.NAMES)
    defined: dict[str, Any] = {}
    module = ast.Module([definition], [])
    exec(compile(module, file, "exec"), function.__globals__, defined)
    made = defined[function.__name__]
    made.__qualname__ = function.__qualname__
    return made


@lru_cache(maxsize=1)  # the kernels of a file are defined one after another
def _definitions(source: bytes) -> dict[int, ast.FunctionDef]:
    """The functions of a file by the line that they, or their decorators, begin in; without these,
    and rewritten."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            node.decorator_list = []
            found[first] = elements.rewritten(node)
    return found
