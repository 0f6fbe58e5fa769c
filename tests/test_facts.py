"""One file says what holds; what is about to hold no longer, or is said otherwise, is a failure."""

import ast
import json
import re
from datetime import date, timedelta

import pytest
import yaml

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.facts import FACTS, load_facts, node_dcu, problems
from churnlab.run.library import course_module, library

TODAY = date(2026, 11, 24)
PRODUCT = {
    "name": "Serverless Spark runtime",
    "version": "2.3",
    "end_of_support": date(2027, 11, 26),
    "source": "https://docs.cloud.google.com/versions",
    "accessed": TODAY,
}
EMPTY = {"region": "us-central1", "currency": "USD", "products": {}, "facts": []}
EMPTY |= {"prices": [], "reports": [], "course": []}
FACT = {"id": "a-fact", "says": "It is so.", "source": "https://example.com", "accessed": TODAY}


@pytest.fixture
def planted(tmp_path):
    """Load a file of one product and one fact, with some of their fields replaced."""

    def load(fact=None, **product):
        content = EMPTY | {"products": {"spark": PRODUCT | product}, "facts": [FACT | (fact or {})]}
        path = tmp_path / "facts.yaml"
        path.write_text(yaml.safe_dump(content))
        return load_facts(path)

    return load


def test_no_product_is_about_to_lose_support_and_nothing_was_read_too_long_ago():
    assert problems(load_facts(), date.today()) == []


def test_a_supported_product_and_a_fresh_fact_are_no_problem(planted):
    assert problems(planted(), TODAY) == []


@pytest.mark.parametrize(
    "end, words",
    [
        (TODAY - timedelta(days=1), "lost support on 2026-11-23"),
        (TODAY + timedelta(days=60), "loses support on 2027-01-23"),
    ],
)
def test_a_product_within_60_days_of_its_end_is_named_with_the_day_and_the_mend(
    planted, end, words
):
    [problem] = problems(planted(end_of_support=end), TODAY)
    assert problem.startswith(f"Serverless Spark runtime 2.3 {words}.")
    assert "change spark in facts.yaml" in problem


def test_a_product_61_days_before_its_end_may_stay(planted):
    assert problems(planted(end_of_support=TODAY + timedelta(days=61)), TODAY) == []


def test_a_product_without_a_published_end_may_stay(planted):
    assert problems(planted(end_of_support=None), TODAY) == []


def test_what_was_read_more_than_400_days_ago_is_to_be_looked_at_again(planted):
    old = TODAY - timedelta(days=401)
    [problem] = problems(planted(fact={"accessed": old}), TODAY)
    assert problem.startswith("a-fact was read on 2025-10-19") and "look again" in problem
    assert problems(planted(fact={"accessed": old + timedelta(days=1)}), TODAY) == []


def test_nothing_is_read_in_the_future(planted):
    [problem] = problems(planted(accessed=TODAY + timedelta(days=1)), TODAY)
    assert "still to come" in problem


@pytest.mark.parametrize(
    "product, words",
    [
        ({"source": "docs.cloud.google.com"}, "product 'spark': the source"),
        ({"accessed": "24 November"}, "accessed is '24 November'"),
        ({"end_of_support": "2027"}, "end_of_support is '2027'"),
        ({"version": 2.3}, "the version 2.3 is no text"),
        ({"eol": "soon"}, "unknown fields: eol"),
    ],
)
def test_a_damaged_entry_is_named(planted, product, words):
    with pytest.raises(CourseError, match=re.escape(words)):
        planted(**product)


def test_a_fact_without_a_source_is_refused(tmp_path):
    path = tmp_path / "facts.yaml"
    fact = {name: value for name, value in FACT.items() if name != "source"}
    path.write_text(yaml.safe_dump(EMPTY | {"facts": [fact]}))
    with pytest.raises(CourseError, match="fact 'a-fact' lacks source"):
        load_facts(path)


def test_two_facts_with_one_id_are_refused(tmp_path):
    path = tmp_path / "facts.yaml"
    path.write_text(yaml.safe_dump(EMPTY | {"facts": [FACT, FACT]}))
    with pytest.raises(CourseError, match="the id 'a-fact' occurs twice"):
        load_facts(path)


@pytest.mark.parametrize(
    ("cores", "memory_gb", "units"),
    [
        (4, 16, 4.0),
        (1, 8, 1.4),
        (1, 10, 1.8),
        (4, 32, 5.6),
        (4, 40, 7.2),
        (16, 128, 22.4),
        (4, 0, 2.4),
    ],
)
def test_compute_units_follow_the_published_formula(cores, memory_gb, units):
    assert node_dcu(cores, memory_gb) == pytest.approx(units)


@pytest.mark.parametrize("machine", [(0, 16), (4, -1)])
def test_compute_units_of_no_machine_are_refused(machine):
    with pytest.raises(ValueError, match="are no machine"):
        node_dcu(*machine)


def test_a_fact_s_numbers_are_numbers(planted):
    assert planted(fact={"values": {"longest": 63}}).values("a-fact") == {"longest": 63}
    with pytest.raises(CourseError, match="longest is '63', no number"):
        planted(fact={"values": {"longest": "63"}})


def keys_in(path) -> set[str]:
    """Return the patterns that a script compares a pipeline id with."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.stmt) and "pipeline_id" in ast.unparse(node).lower():
            calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
            texts = [a.value for call in calls for a in call.args if isinstance(a, ast.Constant)]
            found |= {text for text in texts if str(text).startswith("[a-z")}
    return found


def test_every_program_takes_the_same_keys_of_runs():
    """The pipeline's first task runs alone, in a container, so it has to spell the key again."""
    spelled = {path.stem: keys_in(path) for path in paths.SCRIPTS.rglob("*.py")}
    said = {name: keys - {"[a-z][a-z0-9_]*"} for name, keys in spelled.items()}  # a step's name
    said = {name: keys for name, keys in said.items() if keys}
    assert len(said) >= 2, "the library and the pipeline spell the key"
    assert set.union(*said.values()) == {load_facts().course["pipeline-id"]}


def test_the_function_knows_a_key_that_the_course_has_made():
    shape = load_facts().course["new-pipeline-id"]
    made = r'(?m)^PIPELINE_ID = re\.compile\(r"(.+)"\)$'
    assert found(made, "scripts_generated/pipeline_function.py") == [shape]
    key = library.runs.new_pipeline_id()
    assert re.fullmatch(shape, key) and library.runs.check_pipeline_id(key)


def test_a_batch_s_name_holds_the_longest_key_and_the_longest_step():
    limits = load_facts().values("spark-batch-names")
    longest = "k" * 48
    assert re.fullmatch(load_facts().course["pipeline-id"], longest)
    assert not re.fullmatch(load_facts().course["pipeline-id"], longest + "k")
    library.runs.check_pipeline_id(longest)
    batch_id = course_module("serverless_batches").batch_id
    for script in paths.SCRIPTS.glob("*.py"):
        assert len(batch_id(script.stem, longest, attempt=2)) <= limits["longest"]


def test_the_stand_in_takes_the_names_that_the_service_takes():
    from churnlab.standins.batches import BATCH_ID  # with Google's client, which takes a while

    limits = load_facts().values("spark-batch-names")
    lengths = [n for n in range(1, 80) if BATCH_ID.fullmatch("b" * n)]
    assert (lengths[0], lengths[-1]) == (limits["shortest"], limits["longest"])


@pytest.mark.parametrize("fact", load_facts().facts)
def test_ids_of_facts_are_kebab_case(fact):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fact)


def version(product: str) -> str:
    """The version of a product in the real file."""
    return load_facts().products[product].version


def found(pattern: str, *files: str) -> list[str]:
    """What a pattern finds in files of the repository, each of which has to match."""
    texts = [(paths.ROOT / file).read_text(encoding="utf-8") for file in files]
    matches = [re.findall(pattern, text) for text in texts]
    assert all(matches), f"{pattern} finds nothing in one of {files}"
    return [match for each in matches for match in each]


def test_every_batch_names_the_runtime_of_the_facts():
    named = [
        *found(
            r'^RUNTIME_VERSION = "(.+?)"'.replace("^", "(?m)^"),
            "scripts_generated/serverless_batches.py",
            "scripts_generated/training_pipeline.py",
        ),
        *found(r'"runtime_config": \{"version": "(.+?)"\}', "scripts_generated/scoring_dag.py"),
    ]
    assert set(named) == {version("spark_runtime")}


def test_the_compiled_pipeline_names_the_runtime_of_the_facts():
    compiled = (paths.SCRIPTS / "training_pipeline.yaml").read_text(encoding="utf-8")
    named = re.findall(r"runtime_config_version:\s+runtimeValue:\s+constant: '(.+?)'", compiled)
    assert named and set(named) == {version("spark_runtime")}


def test_the_functions_lock_is_for_the_python_of_its_runtime():
    python = version("function_runtime").removeprefix("python")
    [locked] = found(r"--python-version (\S+) --python-platform linux", "Makefile")
    assert locked == f"{python[0]}.{python[1:]}"


def test_the_dags_environment_has_the_airflow_of_the_composer_image():
    [locked] = found(r"(?m)^apache-airflow-core==(\S+)", "requirements/airflow.txt")
    assert locked == version("airflow")
    assert version("composer_image") == f"composer-3-airflow-{locked}"


@pytest.mark.parametrize(
    "product, package",
    [("kfp", "kfp"), ("pipeline_components", "google-cloud-pipeline-components")],
)
def test_locked_packages_have_the_version_of_the_facts(product, package):
    assert found(rf"(?m)^{package}==(\S+)", "requirements/course.txt") == [version(product)]


def test_terraform_asks_for_the_versions_of_the_facts():
    [required] = found(r'required_version\s*=\s*"(.+?)"', "infra/versions.tf")
    [provider] = found(
        r'source\s*=\s*"hashicorp/google"\s+version\s*=\s*"(.+?)"', "infra/versions.tf"
    )
    assert (required, provider) == (version("terraform"), version("google_provider"))


@pytest.mark.parametrize(
    "product",
    [
        "spark_runtime",
        "function_runtime",
        "composer_image",
        "history_server_image",
        "workbench_image",
    ],
)
def test_terraform_reads_the_facts_and_repeats_no_version(product):
    code = "\n".join(file.read_text(encoding="utf-8") for file in sorted(paths.INFRA.glob("*.tf")))
    code = re.sub(r"(?m)^\s*#.*$", "", code)
    assert "facts.yaml" in code and re.search(rf"\b{product}\b", code)
    assert f'"{version(product)}"' not in code


def test_pages_that_speak_of_prices_link_to_pages_of_the_facts():
    priced = {price.citation.source for price in load_facts().prices.values()}
    for name, text in pages():
        for link in re.findall(r"https://cloud\.google\.com/[\w/.-]*pricing\b", text):
            assert link in priced, f"{name} links to {link}, which {FACTS.name} does not cite"


def pages() -> list[tuple[str, str]]:
    """Names and texts of the book's pages and the notebooks' Markdown."""
    prose = [(file.name, file.read_text("utf-8")) for file in (paths.ROOT / "book").glob("*.md")]
    for file in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        prose.append((file.name, "\n".join("".join(cell["source"]) for cell in cells)))
    return prose


def test_the_file_says_where_no_end_of_support_is_published():
    text = FACTS.read_text(encoding="utf-8")
    undated = [product for product in load_facts().products.values() if not product.end_of_support]
    assert text.count("# no date published where we looked") == len(undated)
