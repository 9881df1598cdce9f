"""How this room's kernels are compiled: all options in one place.

Kernels index flat arrays with numbers that are never negative, but Numba must allow for -1 meaning
"the last" at every access, which costs these kernels a third of their speed. `kernel` therefore
takes every index as unsigned: `s[i]` is compiled as `s[np.uint64(i)]`. Slices stay as they are.

Numba's cache notices a change in a kernel's own file only, but kernels here call and read constants
of one another's files. So each carries a fingerprint of all of this room's sources, as a captured
variable: those are part of the cache's key.

No kernel allocates, hence no reference counts (`_nrt`), and none divides by a zero that should
raise (`error_model`).
"""

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import config

_SOURCES = int.from_bytes(
    hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    ).digest()[:7]
)
_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
}


def kernel(function: Callable) -> Callable:
    """`function` compiled without the interpreter lock, its indices taken as unsigned."""
    return numba.njit(**_OPTIONS)(_with_unsigned_indices(function))


def inlined(function: Callable) -> Callable:
    """As `kernel`, and always inlined into its callers: for what runs at every command."""
    return numba.njit(forceinline=True, **_OPTIONS)(_with_unsigned_indices(function))


def _with_unsigned_indices(function: Callable) -> Callable:
    """The same function, from the same file and line, with `x[i]` written `x[np.uint64(i)]`."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return function
    lines, first = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    definition.body.insert(0, ast.Expr(ast.Name("_sources", ast.Load())))
    maker = ast.parse(f"def _make(_sources):\n    return {function.__name__}")
    assert isinstance(maker.body[0], ast.FunctionDef)
    maker.body[0].body.insert(0, _Unsigned().visit(definition))
    tree = ast.fix_missing_locations(ast.increment_lineno(maker, first - 1))
    function.__globals__["_uint64"] = np.uint64
    defined: dict[str, Any] = {}
    exec(compile(tree, inspect.getfile(function), "exec"), function.__globals__, defined)
    made = defined["_make"](_SOURCES)
    made.__qualname__ = function.__qualname__
    return made


class _Unsigned(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.Subscript:
        self.generic_visit(node)
        if not isinstance(node.slice, (ast.Slice, ast.Tuple)):
            node.slice = ast.Call(ast.Name("_uint64", ast.Load()), [node.slice], [])
        return node
