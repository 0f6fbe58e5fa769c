"""The command line: `churnlab --help`."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from churnlab import paths
from churnlab.cloud.commands import Attempt, DryRun, Minutes, Step, run_step
from churnlab.cloud.commands import app as cloud
from churnlab.errors import CourseError
from churnlab.screen import report_error, say, screen, table_of


class Place(StrEnum):
    """Where a batch runs."""

    local = "local"
    dataproc = "dataproc"


app = typer.Typer(
    help="Run, export and check the course.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cloud, name="cloud")
debugging = False


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")] = False,
) -> None:
    """Options that come before the command."""
    global debugging
    debugging = debug


@app.command()
def setup() -> None:
    """Put the laptop's Spark settings into this environment, and make Spark start sooner."""
    from churnlab.run.class_archive import ensure_archive
    from churnlab.run.spark_home import CLASS_ARCHIVE, configure_spark

    say(f"Spark settings are in {configure_spark()}")
    try:
        if ensure_archive():
            configure_spark()  # now they know the archive
        text = f"Spark's classes are in {CLASS_ARCHIVE}"
    except CourseError as error:
        text = f"Spark will start a little later: {error.problem} {error.mend}"
    say(text)


@app.command()
def doctor() -> None:
    """Check the machine: Python, Java, packages, memory, disk, ports, lake."""
    from churnlab.run.doctor import examine, findings_table, healthy

    findings = list(examine())
    screen().print(findings_table(findings))
    healthy(findings)


@app.command()
def export(
    check: Annotated[
        bool, typer.Option("--check", help="Compare only; fail on a difference.")
    ] = False,
) -> None:
    """Export the notebooks: scripts, the compiled pipeline, and the tables for Terraform."""
    from churnlab.author.bigquery_tables import export_tables
    from churnlab.author.compiled_pipeline import export_pipeline
    from churnlab.author.exporter import export_all

    changed = export_all(paths.NOTEBOOKS, paths.SCRIPTS, check)
    changed += export_pipeline(paths.SCRIPTS, check)
    changed += export_tables(paths.INFRA, check)
    say(f"Written: {', '.join(changed)}" if changed else "Scripts match the notebooks.")


@app.command()
def run(
    modules: Annotated[
        list[str] | None, typer.Argument(help="Numbers or names, such as 05; all if none.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="A parameter, as name=value.")
    ] = None,
    data: Annotated[
        str, typer.Option(help="auto, real, synthetic, or the path of a CSV file.")
    ] = "auto",
    rows: Annotated[int | None, typer.Option(help="How many customers to generate.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small forests, light Java.")] = False,
    lake: Annotated[str | None, typer.Option(help="Another lake than ./lake.")] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="How many run side by side; none before what it stands on.")
    ] = 1,
) -> None:
    """Run notebooks in order, from fresh kernels, and keep the executed copies for the book."""
    from churnlab.environment import environment_with
    from churnlab.run.parameters import assignments
    from churnlab.run.runner import find_notebooks, run_course, typed_parameters
    from churnlab.run.spark_submit import LIGHT_JAVA

    notebooks = find_notebooks(modules or [])
    parameters = typed_parameters(notebooks, assignments(parameter or []))
    chosen = {path.stem for path in notebooks}
    if "02-customer-data" in chosen:
        parameters |= {"source": _data_source(data)} | ({"rows": rows} if rows else {})
    java = {}  # what every Java that the notebooks start is given
    if quick:
        java = {"SPARK_SUBMIT_OPTS": os.environ.get("SPARK_SUBMIT_OPTS", LIGHT_JAVA)}
        small = {
            "04-model-training": ("num_trees", 30),
            "05-hyperparameter-tuning": ("quick", True),
        }
        parameters = dict(small[name] for name in small if name in chosen) | parameters
    with environment_with(java):
        runs = run_course(
            modules or [],
            parameters,
            str(Path(lake).resolve()) if lake and "://" not in lake else lake or paths.lake(),
            announce=lambda name: say(name, style="bold"),
            progress=sys.stderr.isatty(),
            side_by_side=jobs,
        )
    rows = [(module.name, f"{module.seconds:.0f}", module.headline) for module in runs]
    columns = ("Module", "Seconds", "Result")
    screen().print(table_of(columns, rows, title="What ran", title_justify="left"))


@app.command(
    "run-script",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def run_script(
    context: typer.Context,
    step: Step,
) -> None:
    """Run a generated script with spark-submit; its options go after `--`.

    Without --lake and --pipeline-id the course's lake and a fresh id are used.
    """
    from churnlab.run import spark_submit

    arguments = spark_submit.with_run(context.args)
    say(f"spark-submit {step} {' '.join(arguments)}", style="dim", stderr=True)
    finished = spark_submit.run_script(step, arguments)
    if finished.returncode:
        say(f"{step} ended with status {finished.returncode}.", style="red", stderr=True)
        raise typer.Exit(finished.returncode)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def submit(
    context: typer.Context,
    step: Step,
    on: Annotated[
        Place, typer.Option(help="dataproc: Google Cloud; local: the stand-in on this machine.")
    ] = Place.local,
    project: Annotated[
        str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="The Google Cloud project.")
    ] = "",
    region: Annotated[
        str, typer.Option(envvar="CHURNLAB_REGION", help="The region of the batch.")
    ] = "us-central1",
    code: Annotated[
        str, typer.Option(envvar="CHURNLAB_CODE_URI", help="Where the scripts lie, gs://…")
    ] = "",
    service_account: Annotated[
        str, typer.Option(envvar="CHURNLAB_SERVICE_ACCOUNT", help="Who the batch runs as.")
    ] = "",
    subnetwork: Annotated[
        str, typer.Option(envvar="CHURNLAB_SUBNETWORK", help="Its subnetwork.")
    ] = "default",
    container_image: Annotated[str, typer.Option(help="An image of yours, or none.")] = "none",
    ttl_minutes: Minutes = 60,
    attempt: Attempt = 1,
    dry_run: DryRun = False,
) -> None:
    """Submit a step as a batch, follow it, and end with its fate; the step's options go after `--`.

    A fresh pipeline id is filled in, and locally the lake and the scripts. `churnlab up` in another
    terminal keeps the stand-in; without it one is started for this batch.
    """
    from churnlab.cloud.laptop import laptop
    from churnlab.cloud.profile import Profile

    profile = laptop() if on is Place.local else Profile.of()
    profile = profile.but(
        service_account,
        project_id=project,
        region=region,
        code_uri=code,
        subnetwork=subnetwork,
        batch_image=container_image.removeprefix("none"),
    )
    run_step(step, list(context.args), profile, ttl_minutes, attempt, dry_run)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="A query in BigQuery's dialect.")],
    dataset: Annotated[str, typer.Option(help="The dataset whose tables you name.")] = "churn",
    lake: Annotated[str | None, typer.Option(help="Another lake than ./lake.")] = None,
) -> None:
    """Answer a review query over the tables of the lake."""
    from churnlab.run.review import answer

    found = answer(query, dataset, lake or paths.lake())
    rows = zip(*(column.to_pylist() for column in found.columns), strict=True)
    screen().print(table_of(found.column_names, rows))


@app.command()
def promote(
    reason: Annotated[str, typer.Option(help="Why; the registry keeps it.")],
    version: Annotated[
        str, typer.Argument(help="A registered version; else the best of the newest run.")
    ] = "",
    by: Annotated[str, typer.Option(help="Who decides; else your login name.")] = "",
    dataset: Annotated[str, typer.Option(help="The dataset of the tables.")] = "churn",
    lake: Annotated[str | None, typer.Option(help="Another lake than ./lake.")] = None,
) -> None:
    """Make a model the champion, the one that scores; the registry keeps who and why.

    Servers take it up as well, if it was packaged before.
    """
    from churnlab.run.promotion import promote as decide

    row, run = decide(version, reason, by, lake or paths.lake(), dataset)
    say(f"{row['model_version']} is the champion, says {row['changed_by']} in run {run}.")
    serve_version(row["model_version"], lake or paths.lake())


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; the registry keeps it.")],
    by: Annotated[str, typer.Option(help="Who decides; else your login name.")] = "",
    dataset: Annotated[str, typer.Option(help="The dataset of the tables.")] = "churn",
    lake: Annotated[str | None, typer.Option(help="Another lake than ./lake.")] = None,
) -> None:
    """Make the former champion score and answer again; the registry keeps who and why."""
    from churnlab.run.promotion import rollback as go_back

    row, run = go_back(reason, by, lake or paths.lake(), dataset)
    say(f"{row['model_version']} is the champion again, says {row['changed_by']} in run {run}.")
    serve_version(row["model_version"], lake or paths.lake())


def serve_version(version: str, lake: str) -> None:
    """Let servers take up a version's package, and say whether there is one."""
    from churnlab.run.promotion import serve

    if place := serve(version, lake):
        say(f"Servers take up its package {place}.")
    else:
        say("It has no package, so servers go on as before: `churnlab package` makes one.")


@app.command()
def package(
    version: Annotated[str, typer.Argument(help="A registered version; else the champion.")] = "",
    dataset: Annotated[str, typer.Option(help="The dataset of the tables.")] = "churn",
    lake: Annotated[str | None, typer.Option(help="Another lake than ./lake.")] = None,
) -> None:
    """Write a model as one package, compare it with Spark, and let servers take it up."""
    from churnlab.run import spark_submit

    options = ["--dataset", dataset, "--model-version", version or "champion"]
    options += ["--lake", lake or paths.lake()]
    finished = spark_submit.run_script("online_serving", spark_submit.with_run(options))
    if finished.returncode:
        raise typer.Exit(finished.returncode)


@app.command("serve-model")
def serve_model(
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8080,
    lake: Annotated[str | None, typer.Option(help="Another lake than ./lake.")] = None,
) -> None:
    """Answer requests by the packaged champion, on this machine only; Ctrl-C ends it.

    A new champion is taken up while it runs: after `churnlab package`, `promote` or `rollback`.
    """
    from churnlab.run.library import library
    from churnlab.standins.serving import serve_in_the_foreground

    packages = library.lake.join_uri(lake or paths.lake(), library.packages.PACKAGES)
    say(f"http://127.0.0.1:{port}/predict answers (Ctrl-C ends)", style="dim", stderr=True)
    raise typer.Exit(serve_in_the_foreground(packages, port))


@app.command()
def lineage(
    pipeline_id: Annotated[
        str, typer.Argument(help="The key of a run that scored, trained or packaged.")
    ],
    picture: Annotated[
        Path | None, typer.Option(help="Draw it into this file, .svg or .png.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="The dataset of the tables.")] = "churn",
    lake: Annotated[str | None, typer.Option(help="Another lake than ./lake.")] = None,
) -> None:
    """Say what a run's predictions or models were made from, back to the raw file and the code."""
    from churnlab.run.lineage import trace

    found = trace(lake or paths.lake(), dataset, pipeline_id)
    rows = [
        (label, "\n".join(found.labels[a].split("\n")[0] for a, b in found.edges if b == name))
        for name, label in found.labels.items()
    ]
    screen().print(table_of(("What", "Made from"), rows, show_lines=True))
    if picture:
        from churnlab.pictures import draw_graph

        title = f"What {pipeline_id} was made from"
        draw_graph(found.edges, title, labels=found.labels, width=26).savefig(picture)
        say(f"Drawn: {picture}")


@app.command()
def alarms(
    dataset: Annotated[str, typer.Option(help="The dataset of the tables.")] = "churn",
    lake: Annotated[str | None, typer.Option(help="Another lake than ./lake.")] = None,
) -> None:
    """Say which scored batches raised an alarm, what has moved, and what came of it."""
    from churnlab.run.alarms import alarms as raised

    found = raised(lake or paths.lake(), dataset)
    if not found:
        say("No alarm: every batch that was watched is fine.")
        return
    rows = [(alarm.pipeline_id, alarm.verdict, alarm.moved, alarm.answer) for alarm in found]
    screen().print(table_of(("Run", "Verdict", "Moved", "What came of it"), rows, show_lines=True))


@app.command()
def lab(
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8888,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Start JupyterLab, Spark monitor on, with your own copies of the notebooks in lab/."""
    from churnlab.author.exercises import write_learner_copies
    from churnlab.run.lab import start_lab

    for kept in write_learner_copies(paths.NOTEBOOKS, paths.LAB, paths.EXECUTED).kept:
        say(f"{kept}: you changed it, so it stays. Rename it for a fresh copy.")
    raise typer.Exit(start_lab(port, browser, paths.ROOT))


@app.command()
def check(
    modules: Annotated[
        list[str] | None, typer.Argument(help="Numbers or names, such as 04; all if none.")
    ] = None,
) -> None:
    """Check the exercises in your copies in lab/; ends with status 1 while one is open."""
    from churnlab.author.checks import PASSED, judge_copy
    from churnlab.run.runner import find_notebooks

    still_open = 0
    for notebook in find_notebooks(modules or []):
        say(notebook.stem, style="bold")
        for verdict in judge_copy(paths.LAB / notebook.name):
            reason = f": {verdict.reason}" if verdict.reason else ""
            say(f"  {verdict.state:9} {verdict.title}{reason}")
            still_open += verdict.state != PASSED
    raise typer.Exit(1 if still_open else 0)


@app.command()
def book() -> None:
    """Build the book from the executed notebooks."""
    from churnlab.run.book import build

    say(f"The book is at {build()}")


@app.command()
def up(
    port: Annotated[int, typer.Option(help="The first port to take; 0: any free ones.")] = 8790,
) -> None:
    """Start the stand-ins of the cloud's services on this machine; Ctrl-C ends them."""
    from churnlab.standins.server import stand_ins

    ports = {"grpc_port": port, "rest_port": port and port + 1, "vertex_port": port and port + 2}
    with stand_ins(paths.BUILD / "cloud", **ports) as addresses:
        for name, value in addresses.variables().items():
            print(f"export {name}={value}", flush=True)
        say("The stand-ins run. Ctrl-C ends them and their batches.", style="dim", stderr=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


@app.command()
def airflow(
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8080,
    lake: Annotated[str | None, typer.Option(help="Another lake than ./lake.")] = None,
    kernel: Annotated[
        bool, typer.Option("--kernel", help="Only let Jupyter run notebooks in Airflow's Python.")
    ] = False,
) -> None:
    """Start Airflow with the scoring DAG and the stand-ins; Ctrl-C ends all of it."""
    from churnlab.standins.airflow import register_kernel, serve_airflow

    def announce(text: str) -> None:
        say(text)

    if kernel:
        announce(f"The kernel of notebook 12 is in {register_kernel()}")
    else:
        serve_airflow(lake or paths.lake(), port, announce)


@app.command(
    "airflow-kernel",
    hidden=True,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def airflow_kernel(context: typer.Context) -> None:
    """Become a Jupyter kernel in Airflow's environment; Jupyter calls this with its own options."""
    from churnlab.standins.airflow import become_kernel

    become_kernel(context.args)


@app.command()
def serve(port: Annotated[int, typer.Option(help="The port to listen on.")] = 8000) -> None:
    """Serve the built book on this machine only."""
    from churnlab.run.book import serve as serve_book

    serve_book(port, announce=lambda url: say(f"The book is at {url} (Ctrl-C ends)"))


def _data_source(data: str) -> str:
    if data in ("auto", "real", "synthetic") or "://" in data:
        return data
    if not Path(data).exists():
        raise CourseError(
            f"There is no data file {data}.", "DATA is auto, real, synthetic, or a CSV file's path."
        )
    return str(Path(data).resolve())


def main() -> None:
    """Run the command line; an expected error is one clear line and a non-zero status."""
    try:
        app()
    except Exception as error:
        if debugging or os.environ.get("CHURNLAB_DEBUG"):
            raise
        problem, mend = explained(error)
        if not problem:
            raise
        report_error(problem, mend)
        sys.exit(1)


def explained(error: Exception) -> tuple[str, str]:
    """Return what is said of an expected error, and the mend; empty texts for any other."""
    if isinstance(error, CourseError):
        return error.problem, error.mend
    programs = sys.modules.get("churn.programs")  # only a command that needs the library has it
    if programs and (reason := programs.expected_reason(error)):
        return reason, ""
    if isinstance(error, subprocess.CalledProcessError | OSError):
        return str(error), "`churnlab doctor` checks this machine; --debug shows the trace."
    return "", ""


if __name__ == "__main__":
    main()
