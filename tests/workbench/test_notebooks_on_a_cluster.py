"""The notebooks run on a cluster that shares nothing with them but the lake, as in a session."""

import math
import random
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell

from churnlab import paths
from tests.conftest import customer, write_raw
from tests.workbench.cluster import KernelMachine, can_cover, checkout, spark_cluster

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]
SEPARATE_DISKS = pytest.mark.skipif(
    not can_cover(), reason="without the right to mount all processes here see one disk"
)

RUN = "on-a-cluster"
# As few trees as show every cell.
PARAMETERS = {
    "03-preprocessing": {},
    "04-model-training": {"num_trees": 10, "max_depth": 5},
    "05-hyperparameter-tuning": {"quick": True},
    "06-batch-scoring": {},
}
STEPS = {"preprocessing", "training", "tuning", "scoring"}

SENDS_THE_LIBRARY = 'spark.sparkContext.addPyFile(f"{code}/churn.zip")'
FINDS_IT_ALONE = "import sys; sys.path.insert(0, code)"
ASK_EXECUTORS = """
def place(row):
    import churn, os
    return os.path.abspath(churn.__file__), os.listdir(notebooks)

places = spark.sparkContext.parallelize(range(4), 4).map(place).collect()
print(spark.sparkContext.master, *sorted({file for file, _ in places}), sep="\\n")
"""
SEE_NO_NOTEBOOKS = "assert not any(seen for _, seen in places), places"
READ_A_FILE_OF_THE_KERNEL = """
import tempfile
with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    file.write("1,No"); file.flush()
    spark.read.csv(file.name, "customer STRING, churn STRING").collect()
"""


def invented_customers(rows: int) -> list[dict[str, str]]:
    """Return customers who leave early in their tenure, and on monthly contracts."""
    dice, customers = random.Random(7), []
    for number in range(rows):
        tenure, monthly = dice.randint(0, 72), round(dice.uniform(20, 110), 2)
        contract = dice.choice(["Month-to-month", "Month-to-month", "One year", "Two year"])
        odds = 1.5 - tenure / 15 + (contract == "Month-to-month") - 2 * (contract == "Two year")
        facts = {"tenure": str(tenure), "Contract": contract, "MonthlyCharges": str(monthly)}
        facts["TotalCharges"] = f"{tenure * monthly:.2f}" if tenure else ""
        facts["Churn"] = "Yes" if dice.random() < 1 / (1 + math.exp(-odds)) else "No"
        customers.append(customer(number, **facts))
    return customers


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A machine for kernels beside a running cluster; library and lake are not the checkout's."""
    root = tmp_path_factory.mktemp("cloud")
    machine = KernelMachine(root / "kernel", code=root / "code", lake=root / "lake")
    for folder in (machine.code, machine.lake, machine.notebooks):
        folder.mkdir(parents=True)
    shutil.copy(paths.SCRIPTS / "churn.zip", machine.code)
    write_raw(machine.lake, invented_customers(600))
    with spark_cluster(root / "cluster", [*checkout(), machine.folder, machine.code]) as master:
        machine.prepare(master)
        yield machine


@pytest.fixture(scope="module")
def course(machine) -> list[str]:
    """Run the notebooks, byte for byte those of the checkout, and return their names."""
    for name, parameters in PARAMETERS.items():
        notebook = shutil.copy(paths.NOTEBOOKS / f"{name}.ipynb", machine.notebooks)
        done = machine.run(Path(notebook), pipeline_id=RUN, **parameters)
        assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"
    return list(PARAMETERS)


@pytest.fixture(scope="module")
def questions(machine) -> tuple[list, str]:
    """Ask the executors without and with the library; return the cells and the last words.

    The preprocessing notebook's cells start the session, but find the library by themselves.
    """
    notebook = nbformat.read(paths.NOTEBOOKS / "03-preprocessing.ipynb", as_version=4)
    [last] = [n for n, cell in enumerate(notebook.cells) if SENDS_THE_LIBRARY in cell.source]
    notebook.cells = notebook.cells[: last + 1]
    sends = notebook.cells[-1].source
    notebook.cells[-1].source = sends.replace(SENDS_THE_LIBRARY, FINDS_IT_ALONE)
    ask = f"notebooks = {str(paths.NOTEBOOKS)!r}\n{ASK_EXECUTORS}"
    may_fail = {"tags": ["raises-exception"]}
    notebook.cells += [new_code_cell(ask, metadata=may_fail), new_code_cell(sends)]
    notebook.cells += [new_code_cell(f"{ask}\n{SEE_NO_NOTEBOOKS}", metadata=may_fail)]
    notebook.cells += [new_code_cell(READ_A_FILE_OF_THE_KERNEL)]
    path = machine.notebooks / "questions.ipynb"
    nbformat.write(notebook, path)
    done = machine.run(path)
    assert done.returncode != 0, "The file of the kernel was found."
    executed = nbformat.read(machine.executed(path), as_version=4)
    return [cell for cell in executed.cells if ASK_EXECUTORS in cell.source], done.stderr


def test_notebooks_03_to_06_run_unmodified_and_write_to_the_lake(machine, course):
    runs = machine.lake / "runs" / RUN
    assert {record.stem for record in runs.iterdir()} == STEPS
    tables = machine.lake / "warehouse" / "churn"
    assert list(tables.glob(f"batch_predictions/pipeline_id={RUN}/**/*.parquet"))


def test_nothing_stays_in_the_kernels_folder_nor_of_the_examples_in_the_lake(machine, course):
    assert list((machine.folder / "home").iterdir()) == []
    assert [path for path in machine.lake.glob("examples/**/*") if path.is_file()] == []


@SEPARATE_DISKS
def test_executors_have_the_library_that_was_sent_but_no_file_of_the_kernel(machine, questions):
    (_, asked), last_words = questions
    master, *files = asked.outputs[0].text.split()
    assert re.match(r"spark://127\.0\.0\.1:\d+$", master)
    below = [Path(file).relative_to(machine.folder.parent / "cluster").parts[:2] for file in files]
    assert below == [("worker-0", "work"), ("worker-1", "work")]
    assert [output.output_type for output in asked.outputs] == ["stream"]
    assert "SparkFileNotFoundException" in last_words


def test_executors_miss_a_library_that_was_not_sent(questions):
    (asked, _), _ = questions
    assert [output.output_type for output in asked.outputs] == ["error"]
    assert "No module named 'churn'" in asked.outputs[0].evalue
