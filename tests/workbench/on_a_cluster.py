"""Notebooks 03-06, run once on a cluster by papermill, and what they left there."""

import math
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

from churnlab import paths
from tests.conftest import customer, write_raw
from tests.course import drawn
from tests.workbench.cluster import KernelMachine, checkout, spark_cluster

RUN = "on-a-cluster"
CUSTOMERS = 600
# As few trees as show every cell.
PARAMETERS = {
    "03-preprocessing": {},
    "04-model-training": {"num_trees": 10, "max_depth": 5},
    "05-hyperparameter-tuning": {"quick": True},
    "06-batch-scoring": {},
}

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


def few_customers() -> list[dict[str, str]]:
    """Return customers, the real ones if they are at hand, and one whose charge is negative."""
    raw = os.environ.get("CHURNLAB_RAW_CSV")
    rows = drawn(Path(raw), CUSTOMERS) if raw else invented_customers(CUSTOMERS)
    return [*rows, customer(9999, MonthlyCharges="-1")]


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


@dataclass(frozen=True)
class OnACluster:
    """What a kernel's machine and a cluster left below ``folder``; both have ended.

    ``asked`` are the executed cells that asked the executors, without and with the library;
    ``last_words`` are those of the cell that read a file of the kernel's machine.
    """

    folder: Path
    lake: Path
    asked: list
    last_words: str


def run_on_a_cluster(folder: Path) -> OnACluster:
    """Run the notebooks on a machine beside a cluster; library and lake are not the checkout's.

    Raises AssertionError, with the last words, for a notebook that fails.
    """
    machine = KernelMachine(folder / "kernel", code=folder / "code", lake=folder / "lake")
    for place in (machine.code, machine.lake, machine.notebooks):
        place.mkdir(parents=True)
    shutil.copy(paths.SCRIPTS / "churn.zip", machine.code)
    write_raw(machine.lake, few_customers())
    with spark_cluster(folder / "cluster", [*checkout(), machine.folder, machine.code]) as master:
        machine.prepare(master)
        for name, parameters in PARAMETERS.items():  # byte for byte those of the checkout
            notebook = shutil.copy(paths.NOTEBOOKS / f"{name}.ipynb", machine.notebooks)
            done = machine.run(Path(notebook), pipeline_id=RUN, **parameters)
            assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"
        return OnACluster(folder, machine.lake, *ask_executors(machine))


def ask_executors(machine: KernelMachine) -> tuple[list, str]:
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
