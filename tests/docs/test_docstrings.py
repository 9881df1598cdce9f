"""Docstrings of the public face: Google sections that leave out nothing and add nothing.

Public is what the packages export and what docs/api.md shows of it. Every parameter and every field
is explained; an array has a shape, a number that measures something a unit; what is returned and
what is raised is said.
"""

import ast
import builtins
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import pytest

import hmsim

ROOT = Path(__file__).parents[2]
SECTION = re.compile(
    r"^(Args|Attributes|Returns|Yields|Raises):\n((?:(?: {4}.*)?\n)*)", re.MULTILINE
)
ENTRY = re.compile(r"^ {4}(\*{0,2}\w+): (.+(?:\n {8}.*)*)", re.MULTILINE)
UNITS = re.compile(
    r"\b(bytes?|(nano|pico)?(seconds?|joules?)|GB/s|ticks?|Hz|share|rate|how many)\b", re.IGNORECASE
)


def shown():
    """What docs/api.md shows, by its path; of a class with all public methods."""
    paths = re.findall(r"^::: ([\w.]+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    for path in paths:
        module, _, name = path.rpartition(".")
        found = getattr(importlib.import_module(module), name)
        if inspect.ismodule(found):
            continue
        yield path, found
        if inspect.isclass(found):
            for method, value in own_members(found):
                yield f"{path}.{method}", value


def own_members(kind):
    """Public methods and properties that hmsim's own classes define, inherited ones too."""
    found = {}
    for owner in reversed(kind.__mro__):
        if owner.__module__.startswith("hmsim"):
            found |= {name: value for name, value in vars(owner).items() if name[0] != "_"}
    for name, value in found.items():
        if isinstance(value, staticmethod | classmethod):
            yield name, value.__func__
        elif inspect.isfunction(value) or isinstance(value, property):
            yield name, value


PUBLIC = dict(shown())
FUNCTIONS = {path: value for path, value in PUBLIC.items() if inspect.isfunction(value)}
CLASSES = {path: value for path, value in PUBLIC.items() if inspect.isclass(value)}


def sections(thing):
    """The docstring's sections by name: of entries a dict, else the text."""
    text = inspect.cleandoc(thing.__doc__ or "") + "\n"
    found = {}
    for name, body in SECTION.findall(text):
        entries = {key.lstrip("*"): value for key, value in ENTRY.findall(body)}
        found[name] = entries if name in ("Args", "Attributes", "Raises") else body
    return found


def parameters(function):
    names = list(inspect.signature(function, follow_wrapped=True).parameters)
    return [name for name in names if name not in ("self", "cls")]


def raised(function):
    """Names of exceptions that the function's own body raises."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    return {
        node.exc.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
    }


def fields(kind):
    """Fields of a NamedTuple or a dataclass: name and annotation, as written."""
    found = {}
    for owner in reversed(kind.__mro__):
        if owner.__module__.startswith("hmsim"):
            found |= inspect.get_annotations(owner)
    return {name: str(kind) for name, kind in found.items() if not name.startswith("_")}


@pytest.mark.parametrize("path", PUBLIC)
def test_it_has_a_docstring_of_whole_sentences(path):
    text = inspect.cleandoc(PUBLIC[path].__doc__ or "")
    first = text.split("\n\n")[0]
    assert first, "no docstring"
    assert first[-1] in ".`;:", first


@pytest.mark.parametrize("path", FUNCTIONS)
def test_every_parameter_is_explained(path):
    function = FUNCTIONS[path]
    if function.__doc__ and "see `BasePolicy." in function.__doc__:
        return  # an override that says where the text is
    assert list(sections(function).get("Args", {})) == parameters(function)


@pytest.mark.parametrize("path", FUNCTIONS)
def test_what_is_returned_and_raised_is_said(path):
    function = FUNCTIONS[path]
    found = sections(function)
    returns = inspect.signature(function).return_annotation
    said = "Returns" in found or "Yields" in found or not parameters(function)
    assert returns in (None, "None") or said or "see `BasePolicy." in function.__doc__
    assert raised(function) <= set(found.get("Raises", {}))
    for name in found.get("Raises", {}):
        assert hasattr(hmsim.errors, name) or hasattr(builtins, name)


@pytest.mark.parametrize("path", CLASSES)
def test_every_field_and_parameter_of_a_class_is_explained(path):
    kind, found = CLASSES[path], sections(CLASSES[path])
    if issubclass(kind, tuple) or hasattr(kind, "__dataclass_fields__"):
        assert list(found.get("Attributes", {})) == list(fields(kind))
    elif inspect.isfunction(vars(kind).get("__init__")) and not vars(kind).get("_is_protocol"):
        assert list(found.get("Args", {})) == parameters(kind.__init__)


@pytest.mark.parametrize("path", PUBLIC)
def test_arrays_have_shapes_and_quantities_units(path):
    thing, found = PUBLIC[path], sections(PUBLIC[path])
    if inspect.isfunction(thing):
        kinds, said = thing.__annotations__, found.get("Args", {})
    elif inspect.isclass(thing):
        kinds = fields(thing) | getattr(vars(thing).get("__init__"), "__annotations__", {})
        said = found.get("Attributes", {}) | found.get("Args", {})
    else:
        kinds, said = {}, {}
    for name, text in said.items():
        kind = str(kinds.get(name, ""))
        if "ndarray" in kind or re.search(r"\b[IUF]64\b", kind):
            assert "[" in text, f"{name}: no shape"
        if re.search(r"\bfloat\b", kind):
            assert UNITS.search(text), f"{name}: no unit"


def test_what_the_packages_export_is_shown():
    """Or it is a table of names, or a model that docs/configuration.md describes."""
    elsewhere = {"BUILT_IN", "WorkloadSpec", "bound", "plot", "Result"}
    for package in (hmsim, hmsim.memory, hmsim.placement, hmsim.workload):
        for name in set(package.__all__) - elsewhere:
            value = getattr(package, name)
            assert value in PUBLIC.values(), f"{package.__name__}.{name} is not in docs/api.md"
