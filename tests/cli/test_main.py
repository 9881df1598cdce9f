"""The command itself: what every call has in common."""

import os
import subprocess
import sys

import pytest

import hmsim
from hmsim.cli import main
from tests.cli.calls import refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["rn"], "did you mean 'run'"),
        (["run"], "CONFIG"),
        (["info", "x", "--jsn"], "--jsn"),
        (["--jsn"], "hmsim: unrecognized arguments: --jsn\n"),
    ],
)
def test_wrong_calls_read_like_all_other_errors(capsys, call, message):
    assert message in refused(capsys, *call)


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert hmsim.__version__ in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_error():
    command = [sys.executable, "-m", "hmsim", "presets"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "hmsim", "presets", "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 2
    assert done.stderr.startswith("hmsim: 'none' is no preset")


def test_help_is_quick():
    """Heavy modules stay out of `--help`."""
    code = (
        "import sys; from hmsim.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    )
    code += "print([m for m in ('numba', 'numpy', 'scipy', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n"), done.stdout
