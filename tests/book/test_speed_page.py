"""The page on speed: its numbers are those of the benchmarks' files."""

import json
import re

import pytest
import speed_results

from benchmarks import reports, serving
from churnlab import paths
from tests.book.test_book_extensions import rows

pytestmark = pytest.mark.slow  # Sphinx builds a small book for most of these tests

AROUND = {
    "date": "2026-11-25T11:21:03+00:00",
    "commit": "0123abc",
    "machine": {"cores": 2, "memory_gb": 25.3, "cpu": "A processor", "os": "Linux"},
    "versions": {"python": "3.11.7", "java": "17.0.9", "pyspark": "3.5.9"},
    "data": {"label": "ten customers", "rows": 7043, "real": True},
    "straightforward_settings": "PySpark's defaults",
    "quick": False,
}
SLOW = {"seconds": 776.0, "process_seconds": 781.0, "jobs": 3400, "stages": 5100}
FAST = {
    "seconds": 80.0,
    "process_seconds": 84.0,
    "jobs": 700,
    "stages": 900,
    "seconds_in_jobs": 61.0,
    "seconds_between_jobs": 19.0,
    "longest_jobs": [{"job": "collect at RandomForest.scala:663", "count": 9, "seconds": 30.0}],
}
SCORED = {
    "equal": {"scored customers": True},
    "scored_customers": {"straightforward": 690, "course": 690},
    "mean_difference_of_probability": 0.0105,
}
TESTED = {
    "equal": {"test customers": True},
    "test_customers": {"straightforward": 1339, "course": 1339},
    "test_metrics": {
        "straightforward": {"roc_auc": 0.8551, "average_precision": 0.6807},
        "course": {"roc_auc": 0.8563, "average_precision": 0.6861},
    },
}
SPLIT = {
    "equal": {"cleaned rows": True},
    "split_sizes": {"course": {"test": 1339, "train": 5014, "scoring": 690}},
}
PAGE = (paths.ROOT / "book" / "speed.md").read_text(encoding="utf-8").split("\n", 1)[1]
PAGE = re.sub(r"\]\(\.\./notebooks/[^)]*\)", "](index.md)", PAGE)  # the small book has no modules


@pytest.fixture
def results(small_book, monkeypatch):
    """The folder of the files, empty."""
    folder = small_book.root / "results"
    folder.mkdir()
    monkeypatch.setattr(speed_results, "RESULTS", folder)
    return folder


@pytest.fixture
def page(small_book, results):
    """A function that builds the page and returns its warnings, its HTML and its text."""

    def build(text=PAGE):
        small_book.write("notebooks/05-hyperparameter-tuning.ipynb", small_book.notebook())
        small_book.write("_build/executed/05-hyperparameter-tuning.ipynb", small_book.notebook())
        small_book.write_index(text.replace("../notebooks/", "notebooks/"))
        warnings = small_book.build().splitlines()
        html = small_book.page("index")
        ours = [line for line in warnings if "toctree" not in line]
        return ours, html, re.sub(r"<[^>]*>", "", html)

    return build


def step(name, ratio, turns=3, **around):
    """Return the report of a step; all rounds are alike."""
    slow = {key: value * ratio / 9.7 for key, value in SLOW.items()}
    equality = around.pop("equality", SCORED)
    pair = {"straightforward": slow, "course": FAST}
    return reports.step_report(name, [pair] * turns, equality, AROUND | around)


def test_without_results_the_page_says_which_command_makes_them(page):
    warnings, html, text = page()
    assert warnings == []
    assert "Not measured on this copy of the course: make bench does it." in text
    assert "<svg" not in html


def test_the_table_the_sentence_and_the_picture_are_those_of_the_files(page, results):
    reports.write(step("tuning", 9.7), results)
    warnings, html, text = page()
    assert warnings == []
    cells = ["tuning", "12 min 56 s", "80.0 s", "9.7 (9.7 to 9.7)", "8"]
    assert [*cells, "13 min 1 s → 84.0 s", "3,400 → 700", "5,100 → 900"] in rows(html)
    assert "takes 12 min 56 s and 3,400 Spark jobs, the course 80.0 s and 700" in text
    assert "(median of 3): 9.7 times as fast, 9.7 to 9.7 by round, with 8 to reach." in text
    assert "falls short" not in text
    assert "25 November 2026, 0123abc" in text and "2 cores, 25.3 GB, A processor" in text


def test_what_was_measured_once_has_no_spread(page, results):
    reports.write(step("tuning", 9.7, turns=1), results)
    _, html, text = page()
    assert "(measured once): 9.7 times as fast, with 8 to reach." in text
    assert "9.7" in next(row for row in rows(html) if row[0] == "tuning")


def test_the_picture_says_in_words_what_it_draws(page, results):
    reports.write(step("preprocessing", 2.0), results)
    reports.write(step("tuning", 9.7), results)
    _, html, _ = page()
    assert 'role="img" aria-labelledby="speed-title speed-text"' in html
    [title] = re.findall(r'<title id="speed-title">(.*?)</title>', html)
    assert title == (
        "2.0 to 9.7 times as fast as the straightforward version; "
        "short of what is to reach: preprocessing"
    )
    [said] = re.findall(r'<desc id="speed-text">(.*?)</desc>', html)
    assert "preprocessing: 2.0 times as fast, 2 min 40 s to 80.0 s, 2.0 to 2.0 by round" in said
    assert html.count('height="20" width=') == 2


def test_what_falls_short_has_its_profile_beside_it(page, results):
    reports.write(step("tuning", 2.0), results)
    _, _, text = page()
    assert "It falls short. In its last round a Spark job was running for 61.0 s" in text
    assert "collect at RandomForest.scala:663 (9 in 30.0 s)" in text


@pytest.mark.parametrize(
    ("name", "equality", "words"),
    [
        ("preprocessing", SPLIT, "Both make the same of each of the 7,043 customers."),
        ("training", TESTED, "the forests have ROC AUC 0.855 and 0.856, average precision 0.681"),
        ("scoring", SCORED, "Both score the same 690 customers; the probabilities differ"),
        ("scoring", {"equal": {"rows": False, "x": True}}, "The two sides differ in rows, so the"),
    ],
)
def test_what_both_sides_make_is_compared_in_words(page, results, name, equality, words):
    reports.write(step(name, 9.7, equality=equality), results)
    warnings, _, text = page()
    assert warnings == [] and words in text


def test_benchmarks_of_different_days_stand_in_rows_of_their_own(page, results):
    reports.write(step("tuning", 9.7), results)
    reports.write(step("training", 9.7, date="2026-11-24T10:00:00+00:00", quick=True), results)
    _, html, _ = page()
    made = [row for row in rows(html) if "processor" in "".join(row)]
    assert [row[0] for row in made] == ["training", "tuning"]
    assert "small forests and grids" in made[0][-1]


@pytest.mark.parametrize(
    ("archive", "words"),
    [(True, "6.0 s without the archive and 4.0 s with it"), (False, "no archive to compare with")],
)
def test_the_start_up_is_told_as_it_was_measured(page, results, archive, words):
    with_it = {"process_seconds": 4.0, "class_data_archive": archive}
    turn = {"without": {"process_seconds": 6.0, "class_data_archive": False}, "with": with_it}
    reports.write(reports.start_up_report([turn], AROUND), results)
    warnings, _, text = page()
    assert warnings == [] and words in text


@pytest.mark.parametrize(
    ("around", "roc_auc", "verdict"),
    [
        ({}, 0.8467, "Both are reached: 0.845 and 0.655 were asked for."),
        ({}, 0.8441, "Not all is reached: 0.845 and 0.655 were asked for."),
        ({"quick": True}, 0.8441, "is said of the real customers only"),
    ],
)
def test_the_quality_of_the_chosen_forest_is_told_with_its_verdict(
    page, results, around, roc_auc, verdict
):
    facts = {
        "evaluation": "5x5 cross-validation",
        "mean": {"roc_auc": roc_auc, "average_precision": 0.6601},
        "standard_deviation": {"roc_auc": 0.0112, "average_precision": 0.0222},
    }
    figures = {"seconds": 60.0, "facts": facts}
    reports.write(reports.quality_report(figures, AROUND | around), results)
    warnings, _, text = page()
    assert warnings == [] and verdict in text
    assert f"ROC AUC {roc_auc:.4f} ± 0.0112, average precision 0.6601 ± 0.0222" in text


def test_the_server_is_told_with_its_waits(page, results):
    waits = {"one_caller_p50_ms": 2.04, "one_caller_p99_ms": 2.8, "callers_per_second": 1492.4}
    waits |= {"callers_p50_ms": 7.4, "callers_p99_ms": 18.4, "cold_start_seconds": 0.66}
    measured = [waits | {"model_alone_us": alone} for alone in (30.0, 36.0, 41.0)]
    reports.write(serving.report_of(measured, AROUND), results)
    warnings, _, text = page()
    assert warnings == []
    assert "takes 0.7 s. One caller waits 2.0 ms for a customer with reasons (p50; p99 2.8" in text
    assert "the ONNX file takes 0.036 ms. 4 callers at once" in text
    assert "get 1,492 answers a second and wait 7.4 ms (p99 18.4 ms); median of 3." in text


@pytest.mark.parametrize("content", ["{half", "{}", "[]", '{"summary": 3}'])
def test_a_damaged_file_is_a_warning_that_names_the_mend(page, results, content):
    (results / "tuning.json").write_text(content)
    warnings, _, _ = page("```{speed-table}\n```")
    assert any("tuning" in line and "make bench" in line for line in warnings)


def test_every_committed_result_fits_the_page(small_book, monkeypatch):
    monkeypatch.setattr(speed_results, "RESULTS", reports.RESULTS)
    small_book.write_index(
        "```{speed-picture}\n```\n\n```{speed-table}\n```\n\n```{speed-made}\n```"
    )
    assert small_book.build() == ""
    for report in reports.read(reports.RESULTS).values():
        assert json.dumps(report).count(str(paths.ROOT)) == 0
        assert not report["quick"], "results of small forests are not for the book"


STATUS = """```{stale-benchmarks}
```"""


def growth(**around):
    """Return the report of a growth, measured with this copy's library and Spark."""
    ours = speed_results.tree("HEAD")
    versions = AROUND["versions"] | {"pyspark": speed_results.version("pyspark")}
    return {"benchmark": "growth", **AROUND, "library_tree": ours, "versions": versions} | around


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "All were measured with the library and the Spark of this copy."),
        ({"library_tree": "0123abc"}, "the library"),
        ({"versions": AROUND["versions"] | {"pyspark": "3.4.1"}}, "Spark 3.4.1"),
        ({"library_tree": None, "commit": "no such commit"}, "All were measured"),
    ],
)
def test_what_was_measured_with_other_code_is_named(page, results, changes, said):
    reports.write(growth(**changes), results)
    warnings, _, text = page(STATUS)
    assert said in text and not warnings


def test_a_size_that_was_measured_before_the_others_is_named_apart(page, results):
    known = {name: AROUND[name] for name in ("date", "commit", "machine", "versions")}
    older = {"rows": 10_000_000, "measured": known | {"library_tree": "0123abc"}}
    reports.write(growth(older_sizes=[older]), results)
    warnings, html, text = page(STATUS)
    assert not warnings and ["growth, 10,000,000 customers", "the library"] in [
        [name, what] for name, _, what in rows(html)
    ]
    assert "All were measured" not in text


def test_git_names_the_library_as_a_run_does():
    committed = speed_results.tree("HEAD")
    assert committed and speed_results.tree("HEAD+") == committed
    assert speed_results.tree("no such commit") == speed_results.tree(None) == ""
