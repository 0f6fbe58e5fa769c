"""What a Spark session of Google Cloud has, and what the notebooks ask of it, agree."""

import ast
import re
import sys

import nbformat
import pytest

from churnlab import paths

NOTEBOOKS = sorted(path.stem for path in paths.NOTEBOOKS.glob("0[1-6]-*.ipynb"))
# The image that sessions start from, "The following packages are installed in the default image":
# https://docs.cloud.google.com/dataproc-serverless/docs/guides/custom-containers (read 2026-11-24).
# IPython is the kernel, pyspark is mounted.
ON_BOARD = {"numpy", "pandas", "pyarrow", "matplotlib", "sklearn", "google", "IPython", "pyspark"}
SENT_ALONG = {"churn"}
# What may lie on a laptop only, and has another default: the data step says how it goes on without.
OPTIONAL = {"CHURNLAB_RAW_CSV", "CHURNLAB_DOWNLOAD_URL"}
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def cells(name: str) -> list[str]:
    """Return the sources of a notebook's code cells; a check asks for what a session may lack."""
    notebook = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell.source for cell in code if "check" not in cell.metadata.get("tags", [])]


def imported(sources: list[str]) -> set[str]:
    """Return the packages that code imports, wherever in it."""
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)


def opened(sources: list[str]) -> set[str]:
    """Return what code uses to reach files of its own machine."""
    calls = re.findall(r"(?<![\w.])open\(|\btempfile\b|\bPath\(|\bshutil\b", "\n".join(sources))
    return set(calls)


@pytest.mark.parametrize("name", ["07-tables-and-runs", "13-scale", *NOTEBOOKS])
def test_a_notebook_does_not_import_the_courses_own_tools(name):
    assert "churnlab" not in imported(cells(name))


@every_notebook
def test_a_notebook_imports_only_what_a_session_has(name):
    assert imported(cells(name)) <= ON_BOARD | SENT_ALONG


@every_notebook
def test_a_notebook_keeps_no_files_on_the_kernels_disk(name):
    assert opened(cells(name)) == set()


def test_these_checks_see_an_import_in_a_function_and_a_temporary_file():
    assert imported(["def f():\n    import duckdb.typing", "from churnlab import x"]) == {
        "duckdb",
        "churnlab",
    }
    assert opened(["import tempfile", "with open(name) as file: pass", "files.open(name)"]) == {
        "tempfile",
        "open(",
    }


@every_notebook
def test_the_session_template_sets_what_a_notebook_asks_of_its_environment(name):
    asked = set(re.findall(r'"(CHURNLAB_\w+)"', "\n".join(cells(name)))) - OPTIONAL
    template = (paths.INFRA / "spark.tf").read_text(encoding="utf-8")
    environment = re.search(r"notebook_environment = \{(.*?)\n  \}", template, re.DOTALL)[1]
    assert asked == set(re.findall(r"(CHURNLAB_\w+)\s*=", environment))
    assert '"spark.dataproc.driverEnv.${name}"' in template
