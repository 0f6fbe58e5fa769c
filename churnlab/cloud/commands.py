"""`churnlab cloud …`: the way from Terraform to runs, and back."""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from churnlab.errors import CourseError
from churnlab.screen import say, screen, table_of

if TYPE_CHECKING:  # a profile brings Google's clients along, which take a second
    from churnlab.cloud.profile import Profile

app = typer.Typer(
    help="Google Cloud: package, init, check, upload, submit, pipeline, dag, model, costs, down.",
    no_args_is_help=True,
)
pipelines = typer.Typer(help="The training pipeline on Vertex AI.", no_args_is_help=True)
dags = typer.Typer(help="The scoring DAG on Cloud Composer.", no_args_is_help=True)
app.add_typer(pipelines, name="pipeline")
app.add_typer(dags, name="dag")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would happen; change nothing.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow it to its end.")]
Step = Annotated[str, typer.Argument(help="A script, such as preprocessing.")]
Minutes = Annotated[int, typer.Option(help="After this time the batch is ended.")]
Attempt = Annotated[
    int, typer.Option(help="2 and so on: run a step again that failed under its pipeline id.")
]
Parameters = Annotated[
    list[str] | None, typer.Option("--parameter", "-p", help="A parameter, as name=value.")
]


def show(table: Table) -> None:
    """Print a table as wide as the terminal is now."""
    screen().print(table)


def busy(text: str):
    """Return a spinner for what takes a while."""
    return screen(stderr=True).status(text)


def load():
    """Return the profile and the clients of its project. Raises CourseError."""
    from churnlab.cloud.clients import Clients
    from churnlab.cloud.profile import profile_path, read_profile

    profile = read_profile(profile_path())
    return profile, Clients(profile.project_id, profile.region)


@app.command()
def package(dry_run: DryRun = False) -> None:
    """Pack the pipeline function for Terraform; the first thing to do, before `terraform apply`."""
    from churnlab.cloud.package import FILES, archive_path, write_archive

    if dry_run:
        say(f"Would write {archive_path()} with {', '.join(FILES)}")
    else:
        say(f"Written: {write_archive(archive_path())}")


@app.command()
def init(
    outputs: Annotated[
        Path | None, typer.Option(help="What `terraform output -json` wrote, instead of asking it.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Write the profile, cloud.toml, from what Terraform made."""
    from churnlab.cloud.profile import (
        make_profile,
        parse_outputs,
        profile_path,
        terraform_outputs,
        write_profile,
    )

    if outputs:
        if not outputs.is_file():
            raise CourseError(
                f"There is no file {outputs}.", "Leave --outputs out to ask Terraform."
            )
        values = parse_outputs(outputs.read_text(encoding="utf-8"), outputs.name)
    else:
        values = terraform_outputs()
    profile = make_profile(values, outputs.name if outputs else "Terraform's output")
    if not dry_run:
        write_profile(profile, profile_path())
    say(f"{'Would write' if dry_run else 'Written:'} {profile_path()}")
    say(f"Project {profile.project_id} in {profile.region}, lake {profile.lake_uri}")


@app.command()
def check(dry_run: DryRun = False) -> None:
    """Check APIs, permissions, buckets, tables, code and quotas; it changes nothing in any case."""
    from churnlab.cloud.checks import examine
    from churnlab.run.doctor import findings_table, healthy

    profile, clients = load()
    if dry_run:
        say(f"Would look at {profile.project_id}: login, APIs, permissions, accounts, buckets,")
        say("tables, code and quotas. Looking changes nothing.")
        return
    with busy("Looking …"):
        findings = list(examine(clients, profile))
    show(findings_table(findings))
    healthy(findings)


@app.command()
def upload(
    data: Annotated[
        Path | None, typer.Option(help="A CSV file of raw customers, to be put into the lake.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Bring scripts, pipeline and DAG in the cloud up to date; --data adds the raw customers."""
    from churnlab.cloud import upload as uploads

    profile, clients = load()
    items = uploads.code_items(profile, uploads.dag_folder(clients, profile))
    compared = uploads.compare(clients, items)
    if data:
        compared.append(uploads.data_item(clients, profile, data))
    stale = [item for item in compared if item.state != "same"]
    for item in stale if dry_run else uploads.upload(clients, stale):
        say(f"{'Would write' if dry_run else 'Written:'} {item.uri} ({item.state})")
    say(f"{len(compared) - len(stale)} of {len(compared)} files are as in the checkout.")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def submit(
    context: typer.Context,
    step: Step,
    ttl_minutes: Minutes = 60,
    attempt: Attempt = 1,
    dry_run: DryRun = False,
) -> None:
    """Submit a step as a batch and follow it; the step's options go after `--`.

    Lake, dataset and a fresh pipeline id are filled in. Ctrl-C cancels the batch.
    """
    from churnlab.cloud.profile import profile_path, read_profile

    profile = read_profile(profile_path())
    run_step(step, list(context.args), profile, ttl_minutes, attempt, dry_run)


def run_step(
    step: str, words: list[str], profile: "Profile", ttl_minutes: int, attempt: int, dry_run: bool
) -> None:
    """Submit a step by the services of a profile and print what becomes of it."""
    from google.cloud import dataproc_v1 as dataproc

    from churnlab.cloud.batches import plan_step
    from churnlab.cloud.submit import run_batch

    plan = plan_step(step, words, profile, ttl_minutes, attempt)
    if dry_run:
        say(f"Would create {plan.name}")
        say(dataproc.Batch.to_json(plan.request, always_print_fields_with_no_presence=False))
        return
    say(f"{plan.batch_id} {' '.join(plan.request.pyspark_batch.args)}")
    with contextlib.closing(run_batch(plan, profile)) as batch:  # an interrupt cancels it
        for state, text in batch:
            say(f"{state} {text}".rstrip())


@pipelines.command("run")
def pipeline_run(
    parameter: Parameters = None,
    pipeline_id: Annotated[
        str, typer.Option(help="The run's key; again, it finds that run, or repeats a failed one.")
    ] = "",
    wait: Wait = False,
    dry_run: DryRun = False,
) -> None:
    """Start the compiled pipeline, as the function does at its request."""
    from churnlab.cloud import pipeline

    profile, clients = load()
    pipeline.use_vertex(clients)
    run_id, parameters = pipeline.plan_run(profile, parameter or [], pipeline_id)
    if dry_run:
        say(f"Would start {pipeline.job_name(clients, run_id)} with")
        say(json.dumps(parameters, indent=2))
        return
    reply = pipeline.start_run(clients, profile, parameters)
    say(f"{'Was started before' if 'state' in reply else 'Started'}: {reply['pipeline_id']}")
    say(pipeline.console_url(reply["job"]))
    if wait:
        for state, tasks in pipeline.follow_run(clients, reply["job"]):
            say(f"{state} {tasks}".rstrip())


@pipelines.command("list")
def pipeline_list(
    limit: Annotated[int, typer.Option(help="How many, the newest first.")] = 10,
) -> None:
    """List the runs of the pipeline."""
    from churnlab.cloud import pipeline

    _, clients = load()
    rows = [
        (
            job.name.rpartition("/")[2],
            pipeline.state_of(job),
            f"{job.create_time:%Y-%m-%d %H:%M} UTC",
        )
        for job in pipeline.list_runs(clients, limit)
    ]
    show(table_of(("Run", "State", "Started"), rows, box=None, pad_edge=False))


@pipelines.command("status")
def pipeline_status(
    run: Annotated[str, typer.Argument(help="Its pipeline id, or the job's name.")],
    wait: Wait = False,
) -> None:
    """Show where a run is, task by task."""
    from churnlab.cloud import pipeline

    _, clients = load()
    if wait:
        for state, tasks in pipeline.follow_run(clients, run):
            say(f"{state} {tasks}".rstrip())
        return
    job = pipeline.find_run(clients, run)
    say(f"{job.name.rpartition('/')[2]} {pipeline.state_of(job)} {job.error.message}".rstrip())
    for task in job.job_detail.task_details:
        say(f"  {task.task_name} {task.state.name}")
    say(pipeline.console_url(job.name))


@dags.command("trigger")
def dag_trigger(
    parameter: Parameters = None,
    run_id: Annotated[
        str, typer.Option(help="The run's id; a second command with it finds the first's run.")
    ] = "",
    unpause: Annotated[
        bool, typer.Option("--unpause", help="Let a paused DAG run, from now on.")
    ] = False,
    wait: Wait = False,
    dry_run: DryRun = False,
) -> None:
    """Start the scoring DAG; it waits for the customers' file of the day in the lake."""
    from churnlab.cloud import dag

    profile, clients = load()
    run_id = run_id or dag.new_run_id()
    conf = dag.parse_parameters(parameter or [])
    airflow = dag.airflow_url(clients, profile)
    if dry_run:
        say(f"Would POST to {dag.dag_url(airflow)}/dagRuns")
        say(json.dumps(dag.run_request(run_id, conf), indent=2))
        return
    dag.check_dag(clients, airflow, unpause)
    run = dag.trigger(clients, airflow, run_id, conf)
    say(f"{run['dag_run_id']} {run['state']}")
    say(f"{airflow}/dags/{dag.DAG_ID}/runs/{run['dag_run_id']}")
    if wait:
        for state in dag.follow(clients, airflow, run["dag_run_id"]):
            say(state)


@app.command()
def model(dry_run: DryRun = False) -> None:
    """Bring the served package into Vertex AI's Model Registry, and to the endpoint if there is.

    It becomes a version, once, with its evaluation and the alias champion. Again after a rollback
    it only moves the alias.
    """
    from churnlab.cloud import models

    profile, clients = load()
    package = models.served_package(clients, profile)
    known = models.versions(clients, profile)
    found = models.find_version(known, package)
    if dry_run:
        request = models.upload_request(clients, profile, package, first=not known)
        say(f"There is {found.name}" if found else f"Would upload {json.dumps(request, indent=2)}")
        return
    name = found.name if found else models.upload(clients, profile, package, first=not known)
    say(f"{'Is there' if found else 'Uploaded'}: {short(name)}, {package.version}")
    if models.add_evaluation(clients, profile, package, name):
        say("Its evaluation is that of the test split.")
    before = models.holder(known)
    if before != name:
        models.move_alias(clients, name)
        say(f"{models.ALIAS}: {short(before) or 'nobody'} → {short(name)}")
    if profile.serving_endpoint:
        with busy("Deploying, which takes some minutes …"):
            changed = models.deploy(clients, profile, name)
        say(f"The endpoint {'answers' if changed else 'answered already'} by {short(name)}.")


def short(name: str) -> str:
    """Return the last part of a full name."""
    return name.rpartition("/")[2]


@app.command()
def costs(
    batch: Annotated[str, typer.Argument(help="A batch's id; none lists the newest.")] = "",
    limit: Annotated[int, typer.Option(help="How many, the newest first.")] = 20,
) -> None:
    """Price what batches have used, and what running ones cost an hour; it reads only."""
    from churnlab.cloud import bills

    _, clients = load()
    found = [bills.find_batch(clients, batch)] if batch else bills.course_batches(clients, limit)
    rows = list(bills.bills(found))
    columns = ("Batch", "State", "DCU-hours", "Shuffle GB-hours", "Costs")
    cells = [
        (
            row.batch_id,
            row.state,
            f"{row.dcu_hours:.3f}",
            f"{row.shuffle_gb_hours:.3f}",
            f"{row.cost}{' an hour' if row.an_hour else ''}",
        )
        for row in rows
    ]
    show(table_of(columns, cells, box=None))
    say(f"Ended ones together: {bills.total(rows)}, at list prices of us-central1.")


@app.command()
def down(
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for the project's id.")] = False,
    patience: Annotated[
        float, typer.Option(help="Seconds to wait for the inventory to notice what is gone.")
    ] = 300,
    dry_run: DryRun = False,
) -> None:
    """End what runs, destroy what Terraform made, and list what is left over and bills."""
    from churnlab.cloud import leftovers, teardown

    profile, clients = load()
    resources = teardown.state_resources()
    runs = teardown.running(clients, profile)
    for run in runs:
        say(f"{'Would end' if dry_run else 'To end:'} the {run.title}")
    say(f"{'Would destroy' if dry_run else 'To destroy:'} {len(resources)} resources of Terraform")
    if dry_run:
        for name in teardown.guarded(clients, resources):
            say(f"In the way: {name} holds data and may not be deleted.")
        show_leftovers(*leftovers.find(clients), "Bills now")
        return
    teardown.check_guard(clients, resources)
    if not yes and typer.prompt("Type the project's id to go on") != profile.project_id:
        raise CourseError("That is not the project's id: nothing is destroyed.")
    for run in runs:
        teardown.end(clients, run)
    if runs:
        teardown.wait_until_ended(clients, profile)
    teardown.destroy()
    with busy("Looking for what is left …"):
        found, doubt = leftovers.wait_until_gone(lambda: leftovers.find(clients), patience)
    show_leftovers(found, doubt, "Left over")
    if found:
        mend = "The page about the teardown says how to delete them by hand."
        raise CourseError(f"{len(found)} thing(s) that bill are left.", mend)
    say("Nothing is left that bills.")


def show_leftovers(found: list, doubt: str, title: str) -> None:
    """Print what bills, and why the list may lack something."""
    if doubt:
        say(f"{doubt} These services were asked one by one; others were not.")
    if found:
        columns = ("What", "Name", "Where", "State", "Course's", "Bills")
        rows = [
            (
                item.kind.replace(".googleapis.com/", " "),
                item.name,
                item.location,
                item.state,
                "yes" if item.course else "",
                item.bills,
            )
            for item in found
        ]
        show(table_of(columns, rows, box=None, title=title))
