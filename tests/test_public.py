"""The public face: what it exports, that stubs say the same, and that importing is quick."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import hmsim

PACKAGES = ("hmsim", "hmsim.memory", "hmsim.placement", "hmsim.workload")


@pytest.mark.parametrize("name", PACKAGES)
def test_stub_exports_and_homes_agree(name):
    package = importlib.import_module(name)
    stub = Path(package.__file__).with_suffix(".pyi")
    homes = {
        each.asname: f"{node.module}.{each.name}" if node.module == "hmsim" else node.module
        for node in ast.parse(stub.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for each in node.names
    }
    assert sorted(homes) == sorted(package.__all__) == package.__all__
    assert homes == package._HOMES
    for public in package.__all__:
        assert getattr(package, public) is not None
        assert public in dir(package)
    with pytest.raises(AttributeError, match="nothing_of_the_sort"):
        _ = package.nothing_of_the_sort


def test_no_public_name_hides_a_module():
    """`bound` and `plot` are rooms themselves; every other name could be shadowed by an import."""
    for name in PACKAGES:
        package = importlib.import_module(name)
        for public in package.__all__:
            module = f"{name}.{public}"
            beside = Path(package.__file__).parent / public
            taken = beside.is_dir() or beside.with_suffix(".py").exists()
            assert not taken or package._HOMES[public] == module, module


def test_importing_is_quick_and_compiles_nothing():
    code = (
        "import time; began = time.perf_counter(); import hmsim, hmsim.memory, hmsim.placement, "
        "hmsim.workload; took = time.perf_counter() - began; import sys; "
        "print([m for m in ('numba', 'numpy', 'scipy', 'h5py', 'pydantic') if m in sys.modules]); "
        "print(took < 0.5)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nTrue\n"


def test_a_result_draws_itself_and_a_file_alone_does_not():
    assert hmsim.Result.plot
    from hmsim.results.reader import ResultFile

    assert not hasattr(ResultFile, "plot")
