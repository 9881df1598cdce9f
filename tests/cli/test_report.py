"""`hmsim report` as a user calls it; what a page holds is tested in tests/report."""

import pytest

from tests.cli.calls import done, refused
from tests.oracles import small_results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    small_results.result(folder)
    return folder


def test_a_page_as_markdown(results, tmp_path, capsys):
    done(capsys, "report", results, "-o", tmp_path / "page.md", "--markdown", "--quick")
    assert (tmp_path / "page.md").read_text().startswith("#")


def test_mistakes(results, tmp_path, capsys):
    assert "ends in .html" in refused(capsys, "report", results, "-o", tmp_path / "page.md")
    assert "in .md" in refused(capsys, "report", results, "-o", tmp_path / "p.html", "--markdown")
    assert "-o" in refused(capsys, "report", results)
    for folder in (tmp_path / "none", tmp_path):
        assert str(folder) in refused(capsys, "report", folder, "-o", tmp_path / "page.html")
