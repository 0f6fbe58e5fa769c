"""Data is printed as data: by one helper, which every command uses."""

import re

import pytest

from churnlab import paths, screen
from churnlab.run.doctor import Finding, findings_table

MARKUP = "70 [/month] [red]x[/] :smile: [link=https://e.org]y[/link]"
# What rich or typer would print by itself; the helper alone may.
OTHER_WAYS = re.compile(r"\bConsole\(|\bTable\(|\bfrom_markup\(|typer\.(secho|echo)\(|rich\.print")


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def test_only_one_module_knows_how_to_print():
    files = [*paths.ROOT.glob("churnlab/**/*.py"), *paths.ROOT.glob("benchmarks/*.py")]
    found = [path.name for path in files if OTHER_WAYS.search(path.read_text(encoding="utf-8"))]
    assert found == ["screen.py"]


def test_lines_tables_and_errors_show_data_as_it_is(capsys):
    screen.say(MARKUP, style="bold")
    table = screen.table_of([MARKUP], [[MARKUP], [None], ["\x1b]0;title\x07"]], title=MARKUP)
    screen.screen().print(table)
    screen.screen().print(findings_table([Finding(MARKUP, "ok", MARKUP, MARKUP)]))
    screen.report_error(MARKUP, MARKUP)
    out, err = capsys.readouterr()
    assert out.count(MARKUP) == 1 + 3 + 3
    assert err == f"error: {MARKUP}\n{MARKUP}\n"
    assert "NULL" in out and "\\x1b]0;title\\x07" in out and "\x1b" not in out


def test_a_long_line_stays_one_line(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    screen.report_error("a word " * 30)
    assert capsys.readouterr().err.count("\n") == 1
