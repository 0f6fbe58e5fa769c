"""The customers that both sides of a benchmark read."""

import os
import shutil
from pathlib import Path

from benchmarks.programs import LIBRARY, Program, Runner
from churnlab import paths
from churnlab.run.library import library

REAL = 7043  # customers of the real file; as many are generated without it


def land(folder: Path, runner: Runner, rows: int = 0) -> dict:
    """Put raw customers below a folder; return label, number, and whether they are real.

    They are those of CHURNLAB_RAW_CSV, else those of the course's lake, else, and always with
    ``rows``, generated ones.
    """
    target = folder / "raw" / "customers"
    target.parent.mkdir(parents=True)
    named, landed = os.environ.get("CHURNLAB_RAW_CSV"), Path(paths.lake()) / "raw" / "customers"
    if named and not rows:
        target.mkdir()
        shutil.copy(named, target / "customers.csv")
        label = "the customers of CHURNLAB_RAW_CSV"
        return {"label": label, "rows": count(target), "real": is_real(target)}
    if landed.exists() and not rows:
        ignored = shutil.ignore_patterns(library.contract.LANDINGS)
        shutil.copytree(library.contract.newest_landing(str(landed)), target, ignore=ignored)
        label = library.contract.provenance(str(landed)).get("label", "the customers of the lake")
        return {"label": label, "rows": count(target), "real": is_real(target)}
    runner(generator(folder, rows or REAL), folder)
    made = library.contract.newest_landing(str(target))
    shutil.copytree(made, target, dirs_exist_ok=True)
    shutil.rmtree(target / library.contract.LANDINGS)
    return {"label": "generated customers", "rows": count(target), "real": False}


def generator(lake: Path, rows: int, output_format: str = "csv") -> Program:
    """Return the course's data step, told to generate."""
    arguments = ("--pipeline-id", "customers", "--lake", str(lake), "--source", "synthetic")
    arguments += ("--rows", str(rows), "--output-format", output_format)
    return Program("customer_data", arguments, (paths.SCRIPTS / "customer_data.py", *LIBRARY))


def is_real(folder: Path) -> bool:
    """Tell whether raw customers are the real ones: 7,043, and this one among them."""
    known = b"7590-VHVEG,Female,0,Yes,No,1,No,No phone service,DSL,"
    return count(folder) == REAL and any(known in path.read_bytes() for path in csv_files(folder))


def csv_files(folder: Path) -> list[Path]:
    """Return the files of a folder that Spark would read."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name[0] not in "._"]


def count(folder: Path) -> int:
    """Return the number of rows of a folder's CSV files, headers left out."""
    total = 0
    for path in csv_files(folder):
        with path.open("rb") as lines:
            total += max(0, sum(1 for _ in lines) - 1)
    return total
