"""The home of the compiler: only it says `njit`, and what it caches is never stale."""

import ast
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hmsim import jit, sources

PACKAGE = Path(jit.__file__).parent
TOY = {
    "__init__.py": "",
    "leaf.py": """
from hmsim import jit

@jit.kernel
def step():
    return 1
""",
    "caller.py": """
from hmsim import jit
IMPORT

@jit.kernel
def call():
    return 10 * step()
""",
    "apart.py": "x = 1",
}
IMPORTS = [
    "from toy.leaf import step",
    "from .leaf import step",
    "from . import leaf\nstep = leaf.step",
]


def imported_names(tree: ast.AST) -> set[str]:
    """Everything that import statements bind or mention, dotted."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_no_other_file_calls_the_compiler():
    """Neither as a name, nor as an attribute of numba, nor by another of its decorators."""
    told = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == Path(jit.__file__):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        used |= {name.rpartition(".")[2] for name in imported_names(tree)}
        told += [(path.name, name) for name in ("njit", "jitclass", "vectorize") if name in used]
    assert told == []


def python(folder: Path, code: str, **environment: str) -> str:
    """What a fresh interpreter prints, `folder` being on its path."""
    own = (
        os.environ
        | {"PYTHONPATH": f"{folder}{os.pathsep}{PACKAGE.parent}", "NUMBA_CACHE_DIR": ""}
        | environment
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


CALL = """
from toy.caller import call
print(call(), sum(call.stats.cache_hits.values()))
"""


@pytest.fixture
def toy(tmp_path):
    """A user's package of kernels, one file of which calls another's."""
    folder = tmp_path / "toy"
    folder.mkdir()
    for name, text in TOY.items():
        (folder / name).write_text(text.replace("IMPORT", IMPORTS[0]))
    return folder


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_an_edit_in_an_imported_file_makes_the_caller_stale_and_no_other_does(toy):
    assert python(toy.parent, CALL) == "10 0"
    edit(toy / "apart.py", "x = 1", "x = 2")
    assert python(toy.parent, CALL) == "10 1"  # from the disk
    edit(toy / "leaf.py", "return 1", "return 2")
    assert python(toy.parent, CALL) == "20 0"


@pytest.mark.parametrize("line", IMPORTS)
def test_the_fingerprint_follows_every_way_to_import(toy, monkeypatch, line):
    monkeypatch.syspath_prepend(str(toy.parent))
    edit(toy / "caller.py", IMPORTS[0], line)
    before = sources.source_fingerprint(toy / "caller.py")
    edit(toy / "apart.py", "x = 1", "x = 2")
    assert sources.source_fingerprint(toy / "caller.py") == before
    edit(toy / "leaf.py", "return 1", "return 2")
    assert sources.source_fingerprint(toy / "caller.py") != before


CONSTANTS = """
from hmsim import jit

@jit.kernel
def added(a, b, twice):
    return 2 * (a + b) if twice else a + b

@jit.kernel
def call(a):
    return added(1, 2, True) + added(a, 5, False) + added(7, a, True)
"""


def test_constants_that_a_kernel_hands_to_another_make_no_signatures(toy):
    """Else Numba compiles the other kernel three times."""
    (toy / "constants.py").write_text(CONSTANTS)
    code = "from toy.constants import call; print(call(10))"
    assert python(toy.parent, LISTENED + code + SAID) == f"{6 + 15 + 34}\nadded call"


LISTENED = """
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, happened):
        compiled.append(happened.data["dispatcher"].py_func.__name__)
    def on_end(self, happened):
        pass
event.register("numba:compile", Listener())
"""
SAID = "; print(*sorted(compiled))"


def test_a_kernel_that_python_calls_too_is_kept_in_two_ways(toy):
    """With what Python's calls need, and without."""
    code = "from toy.caller import call; from toy.leaf import step; print(call(), step())"
    assert python(toy.parent, LISTENED + code + SAID) == "10 1\ncall step step"
    assert python(toy.parent, LISTENED + code + SAID) == "10 1"
    edit(toy / "caller.py", "10 *", "20 *")  # and its callers find it
    assert python(toy.parent, LISTENED + code + SAID) == "20 1\ncall"


def test_a_file_that_is_imported_by_another_name_is_compiled_anew(toy):
    """As `examples.my_policy` and, from its own folder, `my_policy`."""
    for folder, module in ((toy.parent, "toy.leaf"), (toy, "leaf"), (toy.parent, "toy.leaf")):
        assert python(folder, f"from {module} import step; print(step())") == "1"


POLICY = """
from helper import FIRST
from hmsim.placement.policies.api import Policy, policy_step

@policy_step
def step(now, hbm, own, moves):
    moves.place[0] = FIRST

class Mine(Policy):
    name = "mine"
    step = step
"""


def test_a_users_policy_follows_the_files_beside_it(tmp_path):
    (tmp_path / "mine.py").write_text(POLICY)
    (tmp_path / "helper.py").write_text("FIRST = 1")
    count = "import mine; print(sum(mine.step.stats.cache_hits.values()))"
    assert python(tmp_path, count) == "0"
    assert python(tmp_path, count) == "1"
    edit(tmp_path / "helper.py", "1", "0")
    assert python(tmp_path, count) == "0"


def test_where_nothing_can_be_kept_kernels_compile_and_one_warning_says_so(toy):
    (toy / "__pycache__").write_text("no folder")
    nowhere = {"XDG_CACHE_HOME": "/dev/null/none", "HOME": "/dev/null/none", "NUMBA_CACHE_DIR": ""}
    code = """
import warnings
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    from toy.caller import call
    print(call(), [str(each.message).partition(":")[0] for each in told])
"""
    said = python(toy.parent, code, PYTHONDONTWRITEBYTECODE="1", **nowhere)
    assert said == "10 ['compiled kernels cannot be kept']"


@pytest.mark.parametrize("edited", ["bits.py", "placement/step.py"])
def test_the_fingerprint_covers_what_a_kernel_imports_at_any_distance(
    tmp_path, monkeypatch, edited
):
    """The driver's kernel imports what a step function sees, and that imports others; the memory
    kernels import neither of these two."""
    copy = tmp_path / "hmsim"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "_PACKAGE", copy)
    kernels = copy / "placement/driver_kernel.py", copy / "memory/burst_kernel.py"
    before = [sources.source_fingerprint(kernel) for kernel in kernels]
    (copy / edited).write_text((copy / edited).read_text() + "# edited\n")
    sources._content.cache_clear()  # as in another process
    after = [sources.source_fingerprint(kernel) for kernel in kernels]
    assert before[0] != after[0]
    assert before[1] == after[1]


BEFORE = """
from typing import NamedTuple
from hmsim.jit import kernel

class Pair(NamedTuple):
    left: int
    right: int

@kernel
def total(pair):
    return pair.left + pair.right

print(total(Pair(2, 3)))
"""


def test_a_cache_that_names_a_class_of_old_is_written_anew(tmp_path, monkeypatch):
    """Numba unpickles a signature's classes before it looks at the stamp of the sources."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    module = tmp_path / "moved.py"
    for text in (BEFORE, BEFORE.replace("Pair", "Couple")):
        module.write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", "import moved"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.stdout == "5\n", done.stderr


TOGETHER = """
import sys, time
from numba.core import event
from pathlib import Path
compiled = []
class Listener(event.Listener):
    def on_start(self, happened):
        compiled.append(happened.data["dispatcher"].py_func.__name__)
    def on_end(self, happened):
        pass
event.register("numba:compile", Listener())
from toy.caller import call
Path(sys.argv[1]).touch()
while not Path(sys.argv[2]).exists():
    time.sleep(0.01)
print(call(), "call" in compiled)
"""


def test_of_processes_that_need_a_kernel_at_once_one_compiles_it(tmp_path):
    toy = tmp_path / "toy"
    toy.mkdir()
    for name, text in TOY.items():
        (toy / name).write_text(text.replace("IMPORT", IMPORTS[0]))
    environment = os.environ | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{PACKAGE.parent}",
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    ready = [tmp_path / "a", tmp_path / "b"]
    processes = [
        subprocess.Popen([sys.executable, "-c", TOGETHER, str(mine), str(other)],
                         env=environment, stdout=subprocess.PIPE, text=True)
        for mine, other in (ready, ready[::-1])
    ]  # fmt: skip
    said = sorted(process.communicate(timeout=120)[0].strip() for process in processes)
    assert said == ["10 False", "10 True"]


def test_a_kernel_of_one_signature_is_compiled_once_whoever_asks():
    """Policies of a run ask for it at the same moment."""

    class Dispatcher:
        _can_compile = True
        times = 0

        def compile(self, signature):
            if not self._can_compile:
                raise RuntimeError("compilation disabled")
            time.sleep(0.02)
            self.times += 1

        def disable_compile(self):
            self._can_compile = False

    dispatcher = Dispatcher()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: jit.compiled(dispatcher, "void()"), range(4)))
    assert found == 4 * [dispatcher]
    assert dispatcher.times == 1
