"""How kernels over flat records read and write elements of arrays (see `hmsim.jit.record_kernel`).

Numba compiles `x[i]` for any array and any index: what can be added and indexed is searched each time
that it meets `s[c + FIELD]`, and the optimiser has to take out most of what comes of it. Records are
flat, and their indices never negative, mostly a record and a field: `s[c + FIELD]` is rewritten as a
call that is one load, and takes half of the time to compile.

Numba finds `max` and `min` of any number of things, which takes as long: of two numbers, each is one
instruction here.

An array is seven arguments of a compiled function. `records` and `constants` take what a kernel hands
on through a dozen others down to one, the address of the first element.
"""

import ast
import operator
from copy import deepcopy
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core.datamodel.models import PointerModel
from numba.core.errors import TypingError
from numba.cpython.builtins import do_minmax
from numba.extending import intrinsic, register_jitable, register_model


def rewritten(definition: ast.FunctionDef) -> ast.FunctionDef:
    """A function's definition with its indices taken as unsigned; slices stay as they are.

    It calls what `NAMES` has. Where Numba is to check bounds, it goes on to index arrays.
    """
    checked = config.BOUNDSCHECK  # type: ignore[attr-defined]
    return ast.fix_missing_locations((_Unsigned() if checked else _Plain()).visit(definition))


class _Unsigned(ast.NodeTransformer):
    """`x[i]` becomes `x[_unsigned_index(i)]`."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        if _is_element(node):
            node.slice = _call("_unsigned_index", node.slice)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        plain = len(node.args) == 2 and not node.keywords
        if plain and isinstance(node.func, ast.Name) and node.func.id in ("max", "min"):
            return _call(f"_{node.func.id}_of_two", *node.args)
        return node


class _Plain(_Unsigned):
    """`x[i + j]` becomes `_read_element(x, i, j)`, `x[i] = value` `_write_element(value, x, i, 0)`."""

    _kept = 0

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if _is_element(node) and isinstance(node.ctx, ast.Load):
            return _call("_read_element", *self._place(node))
        return super().visit_Subscript(node)

    def visit_Assign(self, node: ast.Assign) -> Any:
        if not any(map(_is_element, node.targets)):
            return self.generic_visit(node)
        value = self.visit(node.value)
        if len(node.targets) == 1:
            return self._write(node.targets[0], value)
        kept, keep = self._keep(value)
        return [keep, *(self._write(target, deepcopy(kept)) for target in node.targets)]

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        target: Any = node.target
        if not _is_element(target):
            return self.generic_visit(node)
        index, keep = self._keep(self.visit(target.slice))
        element = ast.Subscript(target.value, index, ast.Load())
        sum_ = ast.BinOp(self.visit(deepcopy(element)), node.op, self.visit(node.value))
        return [keep, self._write(element, sum_)]

    def _keep(self, value: ast.expr) -> tuple[ast.Name, ast.stmt]:
        """A name for a value, and the line that gives it."""
        self._kept += 1
        name = f"_kept_{self._kept}"
        line = ast.Assign([ast.Name(name, ast.Store())], value)
        return ast.Name(name, ast.Load()), ast.copy_location(line, value)

    def _write(self, target: ast.expr, value: ast.expr) -> ast.stmt:
        if _is_element(target):
            line: ast.stmt = ast.Expr(_call("_write_element", value, *self._place(target)))
        else:
            line = ast.Assign([self.visit(target)], value)
        return ast.copy_location(line, value)

    def _place(self, element: Any) -> list[ast.expr]:
        """An array, and two numbers whose sum is the index."""
        index = element.slice
        terms = [index, ast.Constant(0)]
        if isinstance(index, ast.BinOp) and isinstance(index.op, ast.Add):
            terms = [index.left, index.right]
        return [self.visit(each) for each in (element.value, *terms)]


def _is_element(node: Any) -> bool:
    return isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice | ast.Tuple)


def _call(name: str, *arguments: ast.expr) -> ast.expr:
    call = ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
    return ast.copy_location(call, arguments[0])


class _Constants(types.CPointer):
    """The address of numbers that no kernel changes."""


register_model(_Constants)(PointerModel)


def _plain_put_off(s: Any, first: Any, p: Any, least: Any, now: Any) -> None:
    for i in range(8):
        s[first + i] = max(s[first + i], now + p[least + i])


@intrinsic
def _put_off(typing: Any, s: Any, first: Any, p: Any, least: Any, now: Any) -> Any:
    """All eight side by side. Of a loop LLVM makes stores under masks, which take ten times as long."""
    eight, index = ir.VectorType(ir.IntType(64), 8), ir.IntType(32)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        def eight_at(array: Any, first: Any) -> Any:
            return builder.bitcast(builder.gep(array, [first]), eight.as_pointer())

        zero = ir.Constant(eight, [0] * 8)
        now = builder.insert_element(zero, values[4], index(0))
        now = builder.shuffle_vector(now, zero, ir.Constant(ir.VectorType(index, 8), [0] * 8))
        times = eight_at(values[0], values[1])
        old = builder.load(times, align=8)
        new = builder.add(now, builder.load(eight_at(values[2], values[3]), align=8))
        more = builder.sub(new, old)
        more = builder.select(builder.icmp_signed(">", more, zero), more, zero)
        builder.store(builder.add(old, more), times, align=8)
        return context.get_dummy_value()

    return types.void(s, types.int64, p, types.int64, types.int64), generate


def _itself(array: Any) -> Any:
    return array


def _address_of(made: Any) -> Any:
    def address(typing: Any, array: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return _data(context, builder, array, values[0])

        return (made(array.dtype)(array), generate) if _is_flat(array) else None

    return address


_plain = config.DISABLE_JIT or config.BOUNDSCHECK  # type: ignore[attr-defined]
records: Any = register_jitable(_itself) if _plain else intrinsic(_address_of(types.CPointer))
"""A flat array of int64 as the address of its first element: what record kernels read and write."""
constants: Any = register_jitable(_itself) if _plain else intrinsic(_address_of(_Constants))
"""The same of an array that no kernel changes: what was read once need not be read again."""
put_off: Any = register_jitable(_plain_put_off) if _plain else _put_off
"""put_off(s, first, p, least, now): s[first + i] becomes at least now + p[least + i], i from 0 to 7."""


@intrinsic
def read(typing: Any, array: Any, first: Any, second: Any) -> Any:
    """array[first + second]."""
    any_ = None
    if not _is_plain(array):
        any_ = typing.resolve_function_type(operator.getitem, (array, types.uint64), {})
    element = array.dtype if any_ is None else any_.return_type

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        index = _index(context, builder, signature.args, values)
        if any_ is None:
            at = _address(context, builder, array, values[0], index)
            value = context.unpack_value(builder, element, at)
            if isinstance(array, _Constants):
                value.set_metadata("invariant.load", builder.module.add_metadata([]))
            return value
        return context.get_function(operator.getitem, any_)(builder, (values[0], index))

    return element(array, first, second), generate


@intrinsic
def write(typing: Any, value: Any, array: Any, first: Any, second: Any) -> Any:
    """array[first + second] = value."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        index = _index(context, builder, signature.args[1:], values[1:])
        if _is_plain(array):
            at = _address(context, builder, array, values[1], index)
            new = context.cast(builder, values[0], value, array.dtype)
            context.pack_value(builder, array.dtype, new, at)
        else:
            any_ = types.void(array, types.uint64, value)
            call = context.get_function(operator.setitem, any_)
            call(builder, (values[1], index, values[0]))
        return context.get_dummy_value()

    return types.void(value, array, first, second), generate


def _of_two(function: Any, compare: Any) -> Any:
    def chosen(typing: Any, one: Any, other: Any) -> Any:
        one, other = types.unliteral(one), types.unliteral(other)
        result = typing.unify_types(one, other)
        if not isinstance(result, types.Number):
            raise TypingError(f"{function}: of {one} and {other}")

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return do_minmax(context, builder, signature.args, values, compare)

        return result(one, other), generate

    return intrinsic(chosen)


def _is_flat(array: Any) -> bool:
    return (
        isinstance(array, types.Array) and (array.ndim, array.layout) == (1, "C") and array.aligned
    )


def _is_plain(array: Any) -> bool:
    return _is_flat(array) or isinstance(array, types.CPointer)


def _index(context: Any, builder: Any, kinds: Any, values: Any) -> Any:
    """The sum of the two numbers after an array. Numba's sums of signed ones do not wrap, without which
    LLVM cannot take loops over lists for what they are."""
    parts = zip(values[1:], kinds[1:], strict=True)
    terms = [context.cast(builder, each, kind, types.uint64) for each, kind in parts]
    signed = all(getattr(kind, "signed", False) for kind in kinds[1:])
    return builder.add(*terms, flags=["nsw"] if signed else [])


def _address(context: Any, builder: Any, array: Any, value: Any, index: Any) -> Any:
    return builder.gep(_data(context, builder, array, value), [index])


def _data(context: Any, builder: Any, array: Any, value: Any) -> Any:
    if isinstance(array, types.CPointer):
        return value
    data = context.data_model_manager[array].get_field_position("data")
    return builder.extract_value(value, data)


NAMES = {
    "_read_element": read,
    "_write_element": write,
    "_unsigned_index": np.uint64,
    "_max_of_two": _of_two("max", operator.gt),
    "_min_of_two": _of_two("min", operator.lt),
}
"""What a definition that is `rewritten` calls."""
