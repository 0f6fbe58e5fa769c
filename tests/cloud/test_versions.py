"""The versions file says what holds, and what is about to hold no longer is a failure."""

import json
import re
from datetime import date, timedelta

import pytest
import yaml

from churnlab import paths
from churnlab.cloud import costs
from churnlab.cloud.versions import VERSIONS, load_versions, problems, stale_citations
from churnlab.errors import CourseError

TODAY = date(2026, 11, 24)
PRODUCT = {
    "name": "Serverless Spark runtime",
    "version": "2.3",
    "end_of_support": date(2027, 11, 26),
    "source": "https://docs.cloud.google.com/versions",
    "accessed": TODAY,
}
FACT = {"id": "a-fact", "says": "It is so.", "source": "https://example.com", "accessed": TODAY}


@pytest.fixture
def planted(tmp_path):
    """Load a file of one product and one fact, with some of their fields replaced."""

    def load(fact=None, **product):
        content = {"products": {"spark": PRODUCT | product}, "facts": [FACT | (fact or {})]}
        path = tmp_path / "versions.yaml"
        path.write_text(yaml.safe_dump(content))
        return load_versions(path)

    return load


def test_no_product_is_about_to_lose_support_and_no_fact_is_stale():
    assert problems(load_versions(), date.today()) == []


def test_no_price_was_read_too_long_ago():
    prices = costs.load_prices()
    cited = {
        entry.id: entry.citation for entry in (*prices.entries.values(), *prices.reports.values())
    }
    assert stale_citations(cited, date.today()) == []


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
    assert "change spark in versions.yaml" in problem


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
    path = tmp_path / "versions.yaml"
    fact = {name: value for name, value in FACT.items() if name != "source"}
    path.write_text(yaml.safe_dump({"products": {}, "facts": [fact]}))
    with pytest.raises(CourseError, match="fact 'a-fact' lacks source"):
        load_versions(path)


def test_two_facts_with_one_id_are_refused(tmp_path):
    path = tmp_path / "versions.yaml"
    path.write_text(yaml.safe_dump({"products": {}, "facts": [FACT, FACT]}))
    with pytest.raises(CourseError, match="the id 'a-fact' occurs twice"):
        load_versions(path)


@pytest.mark.parametrize("fact", load_versions().facts)
def test_ids_of_facts_are_kebab_case(fact):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fact)


def version(product: str) -> str:
    """The version of a product in the real file."""
    return load_versions().products[product].version


def found(pattern: str, *files: str) -> list[str]:
    """What a pattern finds in files of the repository, each of which has to match."""
    texts = [(paths.ROOT / file).read_text(encoding="utf-8") for file in files]
    matches = [re.findall(pattern, text) for text in texts]
    assert all(matches), f"{pattern} finds nothing in one of {files}"
    return [match for each in matches for match in each]


def test_every_batch_names_the_runtime_of_the_versions_file():
    named = [
        *found(
            r'^RUNTIME_VERSION = "(.+?)"'.replace("^", "(?m)^"),
            "scripts_generated/serverless_batches.py",
            "scripts_generated/training_pipeline.py",
        ),
        *found(r'"runtime_config": \{"version": "(.+?)"\}', "scripts_generated/scoring_dag.py"),
    ]
    assert set(named) == {version("spark_runtime")}


def test_the_compiled_pipeline_names_the_runtime_of_the_versions_file():
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
def test_locked_packages_have_the_version_of_the_versions_file(product, package):
    assert found(rf"(?m)^{package}==(\S+)", "requirements/course.txt") == [version(product)]


def test_terraform_asks_for_the_versions_of_the_versions_file():
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
def test_terraform_reads_the_versions_file_and_repeats_no_version(product):
    code = "\n".join(file.read_text(encoding="utf-8") for file in sorted(paths.INFRA.glob("*.tf")))
    code = re.sub(r"(?m)^\s*#.*$", "", code)
    assert "versions.yaml" in code and re.search(rf"\b{product}\b", code)
    assert f'"{version(product)}"' not in code


def test_pages_that_speak_of_prices_link_to_pages_of_the_price_file():
    priced = {price.citation.source for price in costs.load_prices().entries.values()}
    for name, text in pages():
        for link in re.findall(r"https://cloud\.google\.com/[\w/.-]*pricing\b", text):
            assert link in priced, (
                f"{name} links to {link}, which {costs.PRICES.name} does not cite"
            )


def pages() -> list[tuple[str, str]]:
    """Names and texts of the book's pages and the notebooks' Markdown."""
    prose = [(file.name, file.read_text("utf-8")) for file in (paths.ROOT / "book").glob("*.md")]
    for file in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        prose.append((file.name, "\n".join("".join(cell["source"]) for cell in cells)))
    return prose


def test_the_versions_file_says_where_no_end_of_support_is_published():
    text = VERSIONS.read_text(encoding="utf-8")
    undated = [
        product for product in load_versions().products.values() if not product.end_of_support
    ]
    assert text.count("# no date published where we looked") == len(undated)
