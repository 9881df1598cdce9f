"""Figures in a session that shows them by itself: hmsim's, and the user's own after them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.oracles import small_results

ROOT = Path(__file__).parent.parent.parent

# A backend that, like a notebook's, makes the session interactive as it is loaded.
BACKEND = """
import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas
from matplotlib.backend_bases import FigureManagerBase as FigureManager
matplotlib.interactive(True)
"""


@pytest.mark.parametrize("draw", ["result.plot.gap()", "hmsim.plot.draw('gap', result, path, '')"])
def test_the_first_figure_leaves_the_session_as_it_is(tmp_path, draw):
    small_results.result(tmp_path)
    (tmp_path / "shows_itself.py").write_text(BACKEND)
    code = (
        "import hmsim, pathlib\n"
        "result, path = hmsim.Result.open('run.h5'), pathlib.Path('figure.png')\n"
        f"{draw}\n"
        "import matplotlib, matplotlib.pyplot as plt\n"
        "plt.figure()\n"
        "print(matplotlib.get_backend(), matplotlib.is_interactive())"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, check=True,
        env=os.environ | {"MPLBACKEND": "module://shows_itself", "PYTHONPATH": path},
    )  # fmt: skip
    assert done.stdout == "module://shows_itself True\n"


@pytest.mark.slow
def test_a_notebook_shows_every_figure_and_a_run_its_progress(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    cells = [
        "import hmsim, hmsim.progress\n"
        "from tests.oracles.small_results import CONFIG\n"
        "hmsim.progress.QUIET_SECONDS = 0\n"
        "result = hmsim.run(CONFIG)",
        "result",
        "result.plot.gap();",
        "hmsim.plot.draw('gap', result, __import__('pathlib').Path('gap.png'), '')",
        "result.plot.bandwidth();",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, timeout=300).execute()
    shown = ["".join(str(each) for each in cell.outputs) for cell in book.cells]
    assert "64.0/64.0" in shown[0]
    assert "<table>" in shown[1]
    assert ["image/png" in each for each in shown[2:]] == [True, False, True, True]
