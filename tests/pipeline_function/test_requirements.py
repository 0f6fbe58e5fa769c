"""The function is deployed with the versions that the course was tested with."""

import ast
import re
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement

from churnlab import paths
from churnlab.run.library import course_module

CLOUD = {"python_version": "3.12", "python_full_version": "3.12.0", "sys_platform": "linux"}


def pinned(lock: str) -> dict[str, str]:
    """Return the versions of a lock that count in the cloud."""
    text = (paths.ROOT / "requirements" / lock).read_text()
    found = map(Requirement, re.findall(r"(?m)^[A-Za-z0-9].*$", text))
    return {
        requirement.name: str(requirement.specifier)
        for requirement in found
        if not requirement.marker or requirement.marker.evaluate(CLOUD)
    }


def test_the_function_has_the_versions_of_the_course():
    course, function = pinned("course.txt"), pinned("function.txt")
    assert function.items() <= course.items()


def test_everything_that_the_function_imports_is_asked_for():
    asked = (paths.ROOT / "requirements" / "function.in").read_text()
    tree = ast.parse((paths.SCRIPTS / "pipeline_function.py").read_text())
    modules = {n.names[0].name for n in ast.walk(tree) if isinstance(n, ast.Import)}
    modules |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    known = packages_distributions()
    top = {module.partition(".")[0] for module in modules} & known.keys() - {"google"}
    assert {"flask", "yaml", "requests", "functions_framework"} <= top
    for module in top:
        assert any(re.search(rf"(?mi)^{name}\b", asked) for name in known[module]), module


def test_no_address_of_a_registry_is_in_the_lock():
    assert "://" not in (paths.ROOT / "requirements" / "function.txt").read_text()


@pytest.mark.slow  # importing the function takes Vertex AI's library along
def test_terraform_sets_every_setting_that_the_function_reads():
    function = course_module("pipeline_function")
    text = (paths.INFRA / "function.tf").read_text()
    given = set(re.findall(r"\b([A-Z_]+) += ", text))
    assert given == {name.upper() for name in function.Settings.__annotations__}
    assert re.search(r"\bDATASET += local\.dataset\n", text)
