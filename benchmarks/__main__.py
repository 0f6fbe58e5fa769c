"""Run the benchmarks: `make bench`, or `python -m benchmarks --help`."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich import box

from benchmarks import arms, clustered, customers, equality, growth, reports, rounds, serving
from benchmarks.programs import HERE, LIBRARY, Program, submit
from churnlab.errors import CourseError
from churnlab.screen import report_error, screen, table_of

ALL = (*rounds.STEPS, "start-up", "quality", "growth", "serving")
SIZES = (10_000, 100_000, 1_000_000)  # customers of the growth
QUICK_TREES = 3

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = screen(width=130, soft_wrap=True)  # the table is as wide in a log as on a screen


def chosen_steps(text: str) -> list[str]:
    """Return the benchmarks that commas separate. Raises CourseError for an unknown one."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in ALL]:
        problem = f"There is no benchmark {', '.join(map(repr, unknown))}."
        raise CourseError(problem, f"Benchmarks are {', '.join(ALL)}.")
    return [name for name in ALL if name in names]


def chosen_sizes(text: str) -> list[int]:
    """Return the numbers of customers that commas separate. Raises CourseError for others."""
    sizes = [int(word) if word.strip().isdigit() else 0 for word in text.split(",") if text]
    if text and not all(sizes):
        raise CourseError(f"--rows {text!r} holds no numbers of customers.", "Write 10000,100000.")
    return sizes


def run_growth(chosen: list[int], folder: Path, quick: bool, output: Path) -> list[str]:
    """Run the steps and the arms on generated customers of all sizes; return what failed beside.

    Without ``chosen`` sizes it is SIZES, and no exact reasons for the largest: it shall take
    minutes.

    The report is written each time that something has been measured, so that what is interrupted
    leaves what it has. Other sizes of the last report stay in it.
    """
    sizes, trees = chosen or SIZES, QUICK_TREES if quick else growth.TREES
    exact_up_to = growth.TRAINED_UP_TO if chosen else growth.EXACT_UP_TO
    data = {"label": "generated customers, as Parquet", "rows": max(sizes), "real": False}
    around = reports.circumstances(data, quick, "") | {"trees": trees}
    last = reports.read(output).get("growth", {})
    fresh: dict[int, dict] = {}

    def keep(size: dict) -> None:
        fresh[size["rows"]] = size
        report = growth.growth_report(list(fresh.values()), around, last)
        report |= {"names": arms.TRAINING | arms.PREPROCESSING | arms.SCORING}
        report |= {"crossover": arms.crossings(report["sizes"])}
        reports.write(report, output)

    beside = (arms.run_arms, clustered.run_on_clusters)
    measured = growth.grow(sizes, folder, console.print, trees, beside, keep, exact_up_to)
    return [name for size in measured for name in size.get("failed", [])]


def quality_of_winner(bench: rounds.Bench) -> dict:
    """Cross-validate what the course's tuning step chose; without a run of it, it runs now."""
    done = bench.last("course", "tuning")
    arguments = ["--lake", str(done.folder), "--run", done.run]
    arguments += ["--repeats", "1", "--folds", "2"] if bench.quick else []
    files = (HERE / "cross_validated_winner.py", *LIBRARY)
    program = Program("cross_validated_winner", tuple(arguments), files)
    folder = bench.folder / "quality"
    folder.mkdir()
    return bench.runner(program, folder)


def run_one(name: str, bench: rounds.Bench, turns: int, around: dict, announce) -> dict:
    """Run one benchmark and return its report."""
    if name == "start-up":
        measured = rounds.start_ups(bench.folder, bench.runner, turns, announce)
        return reports.start_up_report(measured, around)
    if name == "serving":
        measured = serving.measure(serving.packaged(bench), turns, announce)
        return serving.report_of(measured, around)
    if name == "quality":
        return reports.quality_report(quality_of_winner(bench), around)
    measured = bench.compare(name, turns, announce)
    equal = equality.compare(name, *(bench.done[side, name] for side in rounds.SIDES))
    return reports.step_report(name, measured, equal, around)


def show(found: dict[str, dict]) -> None:
    """Print the table of steps, the other benchmarks, and a profile of what falls short."""
    if rows := reports.table_rows(found):
        title = "Medians; in brackets the least and largest ratio"
        table = table_of(reports.HEAD, rows, title=title, box=box.SIMPLE)
        for column in table.columns:
            column.no_wrap = True
        console.print(table)
    for line in reports.remarks(found):
        console.print(line)


@contextmanager
def going_on(name: str, failed: list[str]) -> Iterator[None]:
    """Report a benchmark that fails, and note its name: the others still run."""
    try:
        yield
    except CourseError as error:
        report_error(f"{name}: {error.problem}", error.mend)
        failed.append(name)


def run_others(names: list[str], bench: rounds.Bench, rows: int, turns: dict, save) -> list[str]:
    """Run the benchmarks beside the growth; return those that failed.

    ``rows`` customers are generated, the real ones taken for 0. ``turns`` are the rounds by
    benchmark, and ``save`` gets each report.
    """
    failed: list[str] = []
    data = customers.land(bench.raw, bench.runner, rows)
    console.print(f"{data['label']}: {data['rows']:,} rows")
    settings = "the course's settings" if bench.same_settings else "PySpark's defaults"
    for name in names:
        with going_on(name, failed):
            around = reports.circumstances(data, bench.quick, settings)
            save(run_one(name, bench, turns[name], around, console.print))
    return failed


@app.command()
def main(
    steps: Annotated[str, typer.Option(help="Which benchmarks, separated by commas.")] = ",".join(
        ALL
    ),
    number: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of each.")] = 3,
    tuning_rounds: Annotated[
        int, typer.Option(min=0, help="Rounds of tuning, which takes minutes; 0: as the others.")
    ] = 1,
    output: Annotated[
        Path, typer.Option(help="Folder of the JSON files; the book shows those of the default.")
    ] = reports.RESULTS,
    rows: Annotated[
        str,
        typer.Option(
            help="Numbers of customers, separated by commas: the sizes of the growth. With them "
            "nothing else is measured. Other sizes of the last report stay in it."
        ),
    ] = "",
    generated: Annotated[
        int,
        typer.Option(
            "--customers", min=0, help="Compare the steps on so many generated customers; 0: real."
        ),
    ] = 0,
    same_settings: Annotated[
        bool, typer.Option(help="Give the straightforward side the course's Spark settings, too.")
    ] = False,
    quick: Annotated[
        bool, typer.Option(help="Small forests and grids, to try the benchmarks out.")
    ] = False,
) -> None:
    """Measure the course against a straightforward version of the same lab, and how it grows.

    Each step runs in a fresh JVM, the sides take turns on the same customers, and medians count.
    What has been measured is written at once; a benchmark that fails does not stop the others.
    """

    def save(report: dict) -> None:
        console.print(f"Written: {reports.write(report, output)}")

    failed: list[str] = []
    try:
        names, sizes = chosen_steps(steps), chosen_sizes(rows)
        names = ["growth"] if sizes else names
        others = [name for name in names if name != "growth"]
        turns = dict.fromkeys(ALL, number)
        turns["tuning"] = tuning_rounds or number
        with tempfile.TemporaryDirectory(prefix="churnlab-bench-") as place:
            folder = Path(place)
            if "growth" in names:
                with going_on("growth", failed):
                    failed += run_growth(sizes, folder / "growth", quick, output)
            if others:
                raw = folder / "raw-lake"
                bench = rounds.Bench(folder, raw, submit, quick, same_settings)
                failed += run_others(others, bench, generated, turns, save)
    except CourseError as error:
        report_error(error.problem, error.mend)
        raise typer.Exit(1) from None
    found = {name: report for name, report in reports.read(output).items() if name in names}
    show(found)
    if differences := reports.unequal(found.values()):
        report_error("the sides differ in\n" + "\n".join(differences))
    if failed:
        report_error(f"Not all was measured: {', '.join(failed)} failed, as said above.")
    if differences or failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
