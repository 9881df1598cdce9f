"""The tables of real selections in the docs are those of the committed results."""

import importlib
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("real_page")


def test_pages_have_the_tables_of_the_results(script):
    tables = 0
    for page in script.PAGES:
        text = page.read_text()
        assert script.with_tables(text) == text, f"run scripts/real_page.py: {page.name}"
        tables += text.count("<!-- end -->")
    assert tables == len(script.TABLES)


def test_a_table_is_made_anew_where_it_stands(script, monkeypatch):
    monkeypatch.setitem(script.TABLES, "some", lambda: script.table(["a", "b"], [["1", "2"]]))
    text = "before\n<!-- some -->\nold\n<!-- end -->\nafter\n"
    made = "before\n<!-- some -->\n| a | b |\n| --- | --- |\n| 1 | 2 |\n<!-- end -->\nafter\n"
    assert script.with_tables(text) == script.with_tables(made) == made
