"""JupyterLab as a reader meets it: the Spark monitor draws a running job below its cell."""

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import nbformat
import pytest

from churnlab.author.exercises import BEGIN, END, learner_copy

pytestmark = pytest.mark.slow

SCREENSHOTS = Path(__file__).resolve().parents[2] / "_build" / "screenshots" / "lab"
START = (
    "import sys; from pathlib import Path; from churnlab.run.lab import start_lab;"
    "sys.exit(start_lab(8888, False, Path('notebooks'), Path('state')))"
)
SESSION = """\
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
spark.conf.get("spark.sql.session.timeZone"), spark.conf.get("spark.serializer").split(".")[-1]"""
# The first tasks are done at once, the others when somebody has seen that they run.
JOB = """\
import os
import time

tasks = 4 * spark.sparkContext.defaultParallelism
seen = os.path.abspath("seen")


def patiently(number, rows):
    while number >= tasks // 4 and not os.path.exists(seen):
        time.sleep(0.1)
    return rows


rows = spark.sparkContext.parallelize(range(8000), tasks)
f"{rows.mapPartitionsWithIndex(patiently).count():,} rows counted\""""
HALF = f"def half(number):\n    {BEGIN}\n    return number / 2\n    {END}"
PATIENCE = 300  # seconds, of a machine that does much else
# Spark's own answer, next to what the laptop's settings ask for.
SETTINGS = "('UTC', 'KryoSerializer')"


def clean_environment(home: Path) -> dict[str, str]:
    """Return an environment without the course's or Java's variables, and with an empty home."""
    dropped = ("JAVA_HOME", "SPARK_", "PYSPARK_", "JUPYTER", "IPYTHON", "XDG_", "CHURNLAB_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"HOME": str(home)}


def wait_for_address(log: Path, server: subprocess.Popen, seconds: float = PATIENCE) -> str:
    """Return the address with its token from the lab's log."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", log.read_text()):
            return found[0]
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}", pytrace=False)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab of our own on a notebook of our own: its address, folder and home."""
    folder = tmp_path_factory.mktemp("lab")
    home, notebooks = folder / "home", folder / "notebooks"
    home.mkdir()
    notebooks.mkdir()
    cells = [nbformat.v4.new_code_cell(source) for source in (SESSION, JOB)]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, notebooks / "job.ipynb")
    notebook.cells = [
        nbformat.v4.new_markdown_cell("## Exercise: halves", metadata={"tags": ["exercise"]}),
        nbformat.v4.new_code_cell(HALF, metadata={"tags": ["solution"]}),
        nbformat.v4.new_code_cell("assert half(4) == 2", metadata={"tags": ["check"]}),
        nbformat.v4.new_code_cell("'the page ' + 'goes on'"),
    ]
    nbformat.write(learner_copy(notebook), notebooks / "exercise.ipynb")
    log = folder / "lab.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-c", START],
            cwd=folder,
            env=clean_environment(home),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            address = urlsplit(wait_for_address(log, server))
            yield SimpleNamespace(
                base=f"http://{address.netloc}", token=address.query, home=home, notebooks=notebooks
            )
        finally:
            server.terminate()
            server.wait(timeout=PATIENCE)


@pytest.fixture(scope="module")
def page(browser, lab):
    """A page of a browser, and what it did wrong."""
    page = browser.new_page(viewport={"width": 1366, "height": 900})
    page.set_default_timeout(1000 * PATIENCE)
    page.wrongs = []
    page.on("pageerror", lambda error: page.wrongs.append(f"page error: {error}"))
    page.on("console", lambda entry: note_console(page, entry))
    page.on("request", lambda request: note_external(page, lab, request.url))
    yield page
    page.close()


def note_console(page, entry) -> None:
    """Note what the page itself calls an error."""
    if entry.type == "error":
        page.wrongs.append(f"console: {entry.text}")


def note_external(page, lab, url: str) -> None:
    """Note a request that leaves this lab."""
    if url.startswith(("http", "ws")) and urlsplit(url).netloc != urlsplit(lab.base).netloc:
        page.wrongs.append(f"request to another host: {url}")


def run_next_cell(page) -> None:
    """Run the selected cell and go to the next, as Shift+Enter does."""
    page.keyboard.press("Shift+Enter")


def screenshot(page, name: str) -> None:
    """Keep a picture for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def test_a_stranger_without_the_token_gets_nothing(lab):
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(f"{lab.base}/api/contents")
    assert answer.value.code == 403
    with urllib.request.urlopen(f"{lab.base}/api/contents?{lab.token}") as answer:
        assert b"job.ipynb" in answer.read()


def test_the_monitor_draws_a_job_of_a_plain_session(lab, page):
    page.goto(f"{lab.base}/lab/tree/job.ipynb?{lab.token}")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    assert page.locator(".Toastify__toast").all_inner_texts() == []
    session, job = page.locator(".jp-CodeCell").nth(0), page.locator(".jp-CodeCell").nth(1)
    session.locator(".cm-content").click()

    run_next_cell(page)
    output = session.locator(".jp-OutputArea-output")
    output.wait_for()
    assert output.inner_text().strip() == SETTINGS
    run_next_cell(page)
    status = job.locator(".pm .tditemjobstatus")
    status.wait_for()
    assert status.inner_text() == "RUNNING"
    panel = job.locator(".pm")
    some_done_some_running = re.compile(r"^[1-9]\d*/\d+ \([1-9]\d*\)$")
    panel.get_by_text(some_done_some_running).wait_for()
    screenshot(page, "job-running")
    (lab.notebooks / "seen").touch()

    panel.locator(".tditemjobstatus.COMPLETED").wait_for()
    panel.get_by_text(re.compile(r"^(\d+)/\1$")).wait_for()
    job.locator(".jp-OutputArea-output").wait_for()
    assert "8,000 rows counted" in job.locator(".jp-OutputArea-output").inner_text()
    assert session.locator(".pm").count() == 0, "a cell without jobs has no panel"
    screenshot(page, "job-finished")
    assert not page.wrongs


def test_run_all_goes_on_after_an_open_exercise_and_its_solution_opens(lab, page):
    page.goto(f"{lab.base}/lab/tree/exercise.ipynb?{lab.token}&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.get_by_text("'the page goes on'").wait_for()
    assert "your turn" in page.locator(".jp-CodeCell").nth(1).inner_text()
    solution = page.locator("details code")
    assert not solution.is_visible()
    page.locator("details summary").click()
    assert "return number / 2" in solution.inner_text()
    screenshot(page, "exercise")


def test_the_reader_s_home_stays_empty(lab):
    assert [path.name for path in lab.home.iterdir()] == []
