"""Writing: as a whole or not at all, nothing of the user's lost; reading: one line for what fails."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hmsim import files
from hmsim.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_file_is_there_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "folder" / "f.txt"
    with files.writing(path) as beside:
        assert beside.suffix == ".txt"
        beside.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    with pytest.raises(ZeroDivisionError), files.writing(path) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "whole"
    assert names(path.parent) == ["f.txt"]


def test_permissions_of_what_is_replaced_stay(tmp_path):
    path = tmp_path / "f"
    files.write_text(path, "one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()
    path.chmod(0o640)
    files.write_text(path, "two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_is_no_plain_file_is_refused(tmp_path):
    (tmp_path / "target").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    before = names(tmp_path)
    for path, said in (
        (tmp_path, "is a folder"),
        (tmp_path / "link", "is a symbolic link"),
        (tmp_path / "dangling", "is a symbolic link"),
        (tmp_path / "pipe", "is a pipe"),
        (Path("/dev/null"), "is a device"),
        (tmp_path / "target" / "x", "is no folder"),
        (tmp_path / ("n" * 300), "File name too long"),
        (tmp_path / "a\0b", "null"),
    ):
        with pytest.raises(InputError, match=said) as error:
            files.write_text(path, "lost")
        assert "\n" not in str(error.value)
    assert names(tmp_path) == before
    assert (tmp_path / "target").read_text() == "kept"


def test_inputs_and_other_outputs_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "in.toml"
    source.write_text("kept")
    os.link(source, tmp_path / "hard")
    for path in (source, "in.toml", "./x/../in.toml", "hard"):
        with pytest.raises(InputError, match="is an input of this call"):
            files.write_text(path, "lost", ["in.toml"])
    with pytest.raises(InputError, match="two outputs"):
        files.check_outputs(["a.png", None, "./a.png"])
    assert files.check_outputs(["a.png", None], ["in.toml"]) == [Path("a.png"), None]
    assert source.read_text() == "kept"


@pytest.mark.parametrize("how", ["text", "hdf5"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, how):
    """In a process of its own, whose files may not grow: the system then fails a write likewise."""
    (tmp_path / "old").write_text("kept")
    code = f"""
import resource, sys
import numpy as np
from hmsim import files, hdf5
from hmsim.errors import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    if {how!r} == "text":
        files.write_text({str(tmp_path / "old")!r}, "x" * 100_000)
    else:
        with hdf5.writing({str(tmp_path / "old")!r}) as output:
            for k in range(50):
                output.file.create_dataset(str(k), data=np.random.default_rng(k).random(1000))
                output.file.flush()
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'old'}: cannot be written: File too large\n"
    assert done.stderr == ""
    assert names(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "kept"


def test_reading_says_in_one_line_what_is_wrong(tmp_path):
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xfd")
    (tmp_path / "json").write_text("[" * 100_000)
    (tmp_path / "digits").write_text("1" * 5000)
    for call, said in (
        (lambda: files.read_text(tmp_path / "none"), "cannot be read: No such file"),
        (lambda: files.read_text(tmp_path), "cannot be read: Is a directory"),
        (lambda: files.read_text("/dev/zero"), "is a device"),
        (lambda: files.read_text("a\0b"), "null"),
        (lambda: files.read_text(tmp_path / "latin"), "not a text file"),
        (lambda: files.read_text(tmp_path / "json", most=10), "too large"),
        (lambda: files.read_json(tmp_path / "json"), "nested too deep"),
        (lambda: files.read_json(tmp_path / "digits"), "not JSON"),
    ):
        with pytest.raises(InputError, match=said) as error:
            call()
        assert "\n" not in str(error.value)


def test_a_lock_has_one_holder_and_goes_with_its_process(tmp_path):
    path = tmp_path / ".lock"
    code = f"""
from pathlib import Path
from hmsim import files
with files.locked(Path({str(path)!r}), "busy"):
    print("held", flush=True)
    input()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="busy"), files.locked(path, "busy"):
        pass
    holder.kill()
    holder.communicate()
    with files.locked(path, "busy"):
        pass
