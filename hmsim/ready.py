"""Kernels that run before Numba is there.

To import Numba and to load a kernel from its cache takes a second: most of a command that is otherwise
done in a tenth of that. Where a command has come so far without Numba, `Ready` calls the machine code
itself. It lies beside Numba's cache, where the first such command has left it; LLVM links it in some
milliseconds, and ctypes calls it by Numba's calling convention. Its stamp covers all it depends on:
sources, versions, processor. Where anything else is found, on systems other than 64-bit Linux, and
under Numba's own settings, the kernel is Numba's as ever.
"""

import ctypes
import hashlib
import json
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hmsim import files
from hmsim.errors import InputError, ProgramError
from hmsim.sources import source_fingerprint

KNOWN = "0.68."  # Numba whose calling convention `_Code` knows
SETTINGS = {"NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS"}  # that change no machine code
_PACKAGE = Path(__file__).parent
_LETTERS = {np.dtype(np.int64): "q", np.dtype(np.uint8): "u"}


class Ready:
    """A kernel of the package, by the name of its module and its own, called without Numba if possible.

    Its arguments are one-dimensional arrays of int64 or uint8, whole numbers and truth values; it
    returns a tuple of whole numbers, allocates nothing and raises nothing.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name
        self._call: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self._call is None:
            return self._first(arguments)
        return self._call(*arguments)

    def _first(self, arguments: tuple[Any, ...]) -> Any:
        kinds = "".join(map(_kind, arguments))
        if "?" in kinds or not _comes_before_numba():
            self._call = self._kernel()
            return self._call(*arguments)
        path = self._folder() / f"{self._module}.{self._name}-{kinds}.code"
        code = _read(path, _stamp(self._module))
        if code is not None:
            self._call = _Code(code, kinds, self._kernel)
            return self._call(*arguments)
        self._call = kernel = self._kernel()
        found = kernel(*arguments)
        _keep(kernel, kinds, path, _stamp(self._module))
        return found

    def _kernel(self) -> Any:
        return getattr(import_module(self._module), self._name)

    def _folder(self) -> Path:
        given = os.environ.get("NUMBA_CACHE_DIR")
        return Path(given) if given else _source(self._module).parent / "__pycache__"


@cache
def _comes_before_numba() -> bool:
    """Whether, at its first kernel, this process has not imported Numba, and need not."""
    from importlib.metadata import PackageNotFoundError, version

    settings = {name for name in os.environ if name.startswith("NUMBA_")}
    if (
        "numba" in sys.modules
        or sys.platform != "linux"
        or struct.calcsize("P") != 8
        or settings - SETTINGS
        or Path(".numba_config.yaml").exists()
    ):
        return False
    try:
        return version("numba").startswith(KNOWN)
    except PackageNotFoundError:
        return False


def _source(module: str) -> Path:
    return _PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")


def _stamp(module: str) -> str:
    from importlib.metadata import version

    import llvmlite.binding as llvm

    digest = hashlib.sha256(source_fingerprint(_source(module)))
    parts = [version("numba"), version("llvmlite"), sys.version, llvm.get_host_cpu_name()]
    parts.append(llvm.get_host_cpu_features().flatten())
    digest.update("\n".join(parts).encode())
    return digest.hexdigest()


def _kind(argument: Any) -> str:
    """A letter for what a kernel is compiled for; a capital one for an array that is only read."""
    if type(argument) in (bool, np.bool_):
        return "b"
    if type(argument) in (int, np.int64):
        return "i"
    if type(argument) is np.ndarray and argument.ndim == 1:
        flags, letter = argument.flags, _LETTERS.get(argument.dtype)
        if letter and flags.c_contiguous and flags.aligned:
            return letter if flags.writeable else letter.upper()
    return "?"


class _Kept(NamedTuple):
    symbol: str
    results: int  # whole numbers that it returns
    outside: list[str]  # symbols that the object file leaves to Numba
    content: bytes  # of the object file


class _Code:
    """Machine code as a function. Arguments of other kinds than it is for go to the kernel."""

    def __init__(self, code: _Kept, kinds: str, kernel: Callable[[], Any]) -> None:
        self._kinds, self._other = kinds, kernel
        types = [ctypes.c_void_p, ctypes.c_void_p]  # the result, the exception
        for kind in kinds:
            types += _TYPES.get(kind, _ARRAY)
        self._result = ctypes.c_int64 * code.results
        self._name = code.symbol
        self._call = ctypes.CFUNCTYPE(ctypes.c_int32, *types)(_linked(code))

    def __call__(self, *arguments: Any) -> Any:
        if "".join(map(_kind, arguments)) != self._kinds:
            return self._other()(*arguments)
        result, trouble = self._result(), ctypes.c_void_p()
        flat: list[Any] = [ctypes.addressof(result), ctypes.addressof(trouble)]
        for each in arguments:
            if isinstance(each, np.ndarray):
                place, size = each.ctypes.data, each.itemsize
                flat += [None, None, each.size, size, place, each.size, size]
            else:
                flat.append(int(each))
        if self._call(*flat):
            raise ProgramError(f"machine code of {self._name} has failed")
        return tuple(result)


_TYPES: dict[str, list[Any]] = {"i": [ctypes.c_int64], "b": [ctypes.c_uint8]}
# Owner, parent, number of elements, bytes of one, the data, length, stride.
_ARRAY: list[Any] = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 2 + [ctypes.c_void_p]
_ARRAY += [ctypes.c_int64] * 2
_engines: list[Any] = []  # machine code lives as long as what has linked it


def _linked(code: _Kept) -> int:
    """The address of the function, once it is part of this process."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    never = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
    for name in code.outside:  # nothing here calls them, and Numba sets them when it comes
        if llvm.address_of_symbol(name) is None:
            llvm.add_symbol(name, never)
    target = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code.content))
    engine.finalize_object()
    _engines.append(engine)
    return engine.get_function_address(code.symbol)


def _read(path: Path, stamp: str) -> _Kept | None:
    """What is kept in a file; None where there is none, or not all of it, or of another stamp."""
    try:
        head, _, content = path.read_bytes().partition(b"\n")
        about = json.loads(head)
        if about["stamp"] == stamp and about["sha256"] == hashlib.sha256(content).hexdigest():
            return _Kept(about["symbol"], about["results"], about["outside"], content)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _keep(kernel: Any, kinds: str, path: Path, stamp: str) -> None:
    """Write the machine code that a call with arguments of these kinds has used, if it can be called
    without Numba. Where the folder cannot be written, nothing is kept."""
    from numba import types

    from hmsim.jit import machine_code

    letters = {types.int64: "i", types.boolean: "b"}
    elements = {types.int64: "q", types.uint8: "u"}

    def letter(type_: Any) -> str:
        if isinstance(type_, types.Array) and (type_.ndim, type_.layout) == (1, "C"):
            found = elements.get(type_.dtype, "?")
            return found if type_.mutable else found.upper()
        return letters.get(type_, "?")

    for arguments in list(kernel.overloads):
        if "".join(map(letter, arguments)) != kinds:
            continue
        found = machine_code(kernel, arguments)
        if found is None:
            continue
        symbol, result, content = found
        if not isinstance(result, types.UniTuple) or result.dtype != types.int64:
            continue
        outside = _outside(content)
        if outside is not None:
            about: dict[str, Any] = {"stamp": stamp, "sha256": hashlib.sha256(content).hexdigest()}
            about |= {"symbol": symbol, "results": result.count, "outside": outside}
            with suppress(InputError):
                files.write_bytes(path, json.dumps(about).encode() + b"\n" + content)


def _outside(content: bytes) -> list[str] | None:
    """The symbols that an object file (ELF, 64 bits) leaves to Numba; None where more needs one of
    them, or of Python's, than Numba's functions for Python to call, which nothing calls here."""
    if content[:6] != b"\x7fELF\x02\x01":
        return None
    (table,) = struct.unpack_from("<Q", content, 0x28)
    size, count = struct.unpack_from("<HH", content, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", content, table + size * i) for i in range(count)]
    symbols: list[tuple[str, int, int, int]] = []  # name, section, place in it, bytes
    for _, kind, _, _, at, length, link, *_ in sections:
        if kind == 2:  # the symbol table
            names = sections[link][4]
            for name, _, _, section, value, extent in _records("<IBBHQQ", content, at, length):
                end = content.index(b"\0", names + name)
                symbols.append((content[names + name : end].decode(), section, value, extent))
    for _, kind, _, _, at, length, _, where, *_ in sections:
        if kind != 4 or not sections[where][2] & 4:  # references, in code
            continue
        wrappers = [
            range(value, value + extent)
            for name, section, value, extent in symbols
            if section == where and name.startswith(("_ZN7cpython", "cfunc."))
        ]
        for place, info, _ in _records("<QQq", content, at, length):
            if symbols[info >> 32][1] == 0 and not any(place in each for each in wrappers):
                return None
    left = sorted({name for name, section, *_ in symbols if name and section == 0})
    known = all(name.startswith(("Py", "_Py", "numba_")) for name in left)
    return [name for name in left if name.startswith("numba_")] if known else None


def _records(form: str, content: bytes, at: int, length: int) -> Iterator[tuple[Any, ...]]:
    return struct.iter_unpack(form, content[at : at + length])
