"""How this room's kernels are compiled: all options in one place.

Kernels index flat arrays with numbers that are never negative, but Numba must allow for -1 meaning
"the last" at every access, which costs these kernels a third of their speed. `kernel` therefore
takes every index as unsigned: `s[i]` is compiled as `s[np.uint64(i)]`. Slices stay as they are.

No kernel allocates, hence no reference counts (`_nrt`), and none divides by a zero that should
raise (`error_model`).
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core import config

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
    tree = ast.fix_missing_locations(_Unsigned().visit(tree))
    ast.increment_lineno(tree, first - 1)
    function.__globals__["_uint64"] = np.uint64
    defined: dict[str, Any] = {}
    exec(compile(tree, inspect.getfile(function), "exec"), function.__globals__, defined)
    return defined[function.__name__]


class _Unsigned(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.Subscript:
        self.generic_visit(node)
        if not isinstance(node.slice, (ast.Slice, ast.Tuple)):
            node.slice = ast.Call(ast.Name("_uint64", ast.Load()), [node.slice], [])
        return node
