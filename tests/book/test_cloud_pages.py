"""What the pages on Google Cloud name exists: variables, outputs, commands, files, roles, services."""

import json
import re
import shutil
import subprocess

import pytest
import typer
import yaml

from churnlab import cli, paths

BOOK = paths.ROOT / "book"
INFRA = paths.ROOT / "infra"
PAGES = ["provisioning", "workbench", "services", "security", "images", "costs", "teardown"]
PAGES += ["troubleshooting"]
# Words of other programs that look like names of Terraform's.
FOREIGN_NAMES = {
    "deletion_protection",
    "events",  # a parameter of notebook 01
    "force_destroy",
    "join_uri",
    "pipeline_execution_ts",
    "pipeline_id",
    "promote_model",  # a task of the pipeline
    "wait_for_customers",
    "write_text",
}
# What a step of the page makes, and Git ignores.
MADE_BY_THE_READER = {"infra/backend.tf", "infra/terraform.tfstate", "infra/terraform.tfvars"}
MADE_BY_THE_READER |= {"infra/.terraform.lock.hcl"}
FOLDERS = ("book/", "churnlab/", "infra/", "notebooks/", "requirements/", "scripts_generated/")


def text_of(page: str) -> str:
    """The source of a page."""
    return (BOOK / f"{page}.md").read_text(encoding="utf-8")


def terraform(pattern: str) -> set[str]:
    """What a pattern finds in the Terraform files."""
    return {
        found
        for file in sorted(INFRA.glob("*.tf"))
        for found in re.findall(pattern, file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }


VARIABLES = terraform(r'^variable "(\w+)"')
OUTPUTS = terraform(r'^output "(\w+)"')


def inline_code(page: str) -> list[str]:
    """The pieces of a page in single backticks, outside its blocks of code."""
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose)


def settings_of(page: str) -> list[str]:
    """What is set in the blocks of Terraform of a page."""
    blocks = re.findall(r"^```terraform\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)
    return [name for block in blocks for name in re.findall(r"(?m)^(\w+) +=", block)]


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, or a line that begins like this."""
    lines = text_of(page).partition(f"\n{heading}")[2].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| "))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[2:]


def test_the_pages_speak_of_terraform():
    assert len(VARIABLES) > 20 and len(OUTPUTS) > 20


@pytest.mark.parametrize("page", PAGES)
def test_every_variable_and_output_that_a_page_names_exists(page):
    tables = set(json.loads((INFRA / "bigquery_tables.json").read_text(encoding="utf-8")))
    words = {word for word in inline_code(page) if re.fullmatch(r"[a-z]+(_[a-z]+)+", word)}
    assert words - VARIABLES - OUTPUTS - tables - FOREIGN_NAMES == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_and_output_in_the_commands_of_a_page_exists(page):
    set_here = [name for code in inline_code(page) for name in re.findall(r"^(\w+) = ", code)]
    assert {*set_here, *settings_of(page)} - VARIABLES - FOREIGN_NAMES == set()
    assert set(re.findall(r"output -raw (\w+)", text_of(page))) - OUTPUTS == set()


def test_provisioning_says_of_every_variable_what_it_is_for():
    code = inline_code("provisioning") + inline_code("teardown") + settings_of("provisioning")
    assert VARIABLES - {name for piece in code for name in re.findall(r"\w+", piece)} == set()


@pytest.mark.parametrize("page", [*PAGES, "../README"])
def test_every_command_of_churnlab_on_a_page_exists(page):
    for line in re.findall(r"(?:^|`|/)churnlab ([^`\n#]*)", text_of(page), flags=re.MULTILINE):
        command, words = typer.main.get_command(cli.app), line.partition(" -- ")[0].split()
        while words and hasattr(command, "commands"):
            if words[0].startswith("-") or words[0] == "…":
                break
            assert words[0] in command.commands, f"churnlab {line}"
            command = command.commands[words.pop(0)]
        options = {option for known in command.params for option in known.opts} | {"--help"}
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used - options == set(), f"churnlab {line}"


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page):
    named = [code for code in inline_code(page) if code.startswith(FOLDERS)]
    if page == "services":
        named += [f"infra/{code}" for code in inline_code(page) if re.fullmatch(r"\w+\.tf", code)]
    missing = {name for name in named if not (paths.ROOT / name).exists()}
    assert missing - MADE_BY_THE_READER == set()


def test_the_services_of_the_page_are_those_that_terraform_enables():
    rows = table("services", "## Service by service") + table("services", "And only if you ask")
    enabled = re.findall(r'"(\w+)\.googleapis\.com"', (INFRA / "apis.tf").read_text("utf-8"))
    assert sorted(row[0].strip("`") for row in rows) == sorted(enabled)


# Who may do what


@pytest.fixture(scope="module")
def bound(tmp_path_factory) -> dict:
    """The roles that identity.tf binds with everything switched on, as Terraform computes them."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed: the security page is not compared with infra/")
    folder = tmp_path_factory.mktemp("identity")
    identity = (INFRA / "identity.tf").read_text(encoding="utf-8")
    # The maps alone: principals is the one that asks for accounts that exist.
    maps = re.search(r"^locals \{\n.*?^\}\n", identity, flags=re.MULTILINE | re.DOTALL)[0]
    maps = re.sub(r"^  principals = merge\(\n.*?^  \)\n", "", maps, flags=re.MULTILINE | re.DOTALL)
    (folder / "locals.tf").write_text(maps, encoding="utf-8")
    shutil.copy(INFRA / "variables.tf", folder)
    settings = {"project_id": "demo-project", "author": "user:ada@example.com"}
    settings |= dict.fromkeys(["create_composer", "create_history_server", "create_schedule"], True)
    image = "us-central1-docker.pkg.dev/demo-project/churnlab/serving:1"
    settings |= {"serving": "cloud-run", "serving_image": image}
    settings["function_ingress"] = "ALLOW_ALL"  # else the DAG's call would not come in
    (folder / "all.auto.tfvars.json").write_text(json.dumps(settings), encoding="utf-8")
    names = ["project_roles", "bucket_roles", "dataset_roles", "repository_roles", "acts_as"]
    names += ["accounts", "invokers", "server_callers", "history_readers"]
    asked = "jsonencode({" + ", ".join(f"{name} = local.{name}" for name in names) + "})"
    done = subprocess.run(
        ["terraform", "console"], cwd=folder, input=asked, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(json.loads(done.stdout.strip().splitlines()[-1]))


def words(cell: str) -> set[str]:
    """The names in a cell: what stands in backticks, and you."""
    return set(re.findall(r"`([\w.]+)`", cell)) | ({"person"} if "you" in cell else set())


def on_things(bound: dict) -> dict[tuple[str, str], set[str]]:
    """Thing and role, with who has it."""
    found = {
        (f"bucket {bucket}", f"storage.{role}"): set(who)
        for bucket, roles in bound["bucket_roles"].items()
        for role, who in roles.items()
    }
    for thing, service, key in [
        ("dataset", "bigquery", "dataset_roles"),
        ("registry", "artifactregistry", "repository_roles"),
    ]:
        found |= {(thing, f"{service}.{role}"): set(who) for role, who in bound[key].items()}
    found[("server", "run.invoker")] = set(bound["server_callers"])
    found[("history server", "dataproc.editor")] = set(bound["history_readers"])
    return found | {("function", "run.invoker"): set(bound["invokers"])}


def test_the_page_has_every_role_on_a_single_thing(bound):
    told = {
        (thing.replace("`", ""), role.strip("`")): words(who)
        for thing, role, who in table("security", "## On what")
    }
    # The page says once that you have what the author's account has.
    assert all(("person" in who) == ("author" in who) for who in on_things(bound).values())
    assert told == {key: who - {"person"} for key, who in on_things(bound).items()}


def test_the_page_has_every_role_on_the_project(bound):
    rows = table("security", "What Google offers no narrower place for is bound on the project:")
    told = {(next(iter(words(who))), role.strip("`")) for who, role, _ in rows}
    told |= {("person", role) for who, role in told if who == "author"}
    found = {(who, role) for who, roles in bound["project_roles"].items() for role in roles}
    assert told == found


def test_the_page_has_everybody_who_may_act_as_an_account(bound):
    heading = "And who may have work done in whose name"
    told = {account.strip("`"): words(who) for account, who in table("security", heading)}
    assert told == {account: set(who) for account, who in bound["acts_as"].items()}


def test_the_page_counts_and_draws_every_account(bound):
    drawn = text_of("security").partition("```mermaid")[2].partition("```")[0]
    assert {name for name in bound["accounts"] if not re.search(rf"\b{name}\b", drawn)} == set()
    assert "Eight accounts" in text_of("security") and len(bound["accounts"]) == 8


def test_who_applies_with_a_key_needs_its_roles_too():
    roles = {row[0]: row[1] for row in table("provisioning", "### Which roles you need")}
    (row,) = [who for who in roles if "`kms_key`" in who]
    assert {"cloudkms.admin", "workloadidentity.admin"} <= words(row)


def test_both_roles_that_reach_beyond_the_course_are_warned_of():
    warning = text_of("security").partition("```{caution}")[2].partition("```")[0]
    assert {"dataproc.worker", "composer.worker"} <= words(warning)


def test_the_page_says_which_batches_stage_elsewhere_than_in_our_bucket():
    places = {row[0]: row[2] for row in table("security", "**Your own key.**")}
    (pipeline,) = [place for what, place in places.items() if "pipeline" in what]
    spec = yaml.safe_load((paths.SCRIPTS / "training_pipeline.yaml").read_text("utf-8"))
    components = [c for name, c in spec["components"].items() if "pyspark-batch" in name]
    told = {field for c in components for field in c["inputDefinitions"]["parameters"]}
    assert "kms_key" in told
    # When the component learns the field, name the bucket in notebook 09 and mend the table.
    assert "staging_bucket" not in told and "`staging`" not in pipeline


def test_nobody_is_told_to_delete_what_terraform_cleans_up():
    page = text_of("troubleshooting")
    assert "gcloud functions delete" not in page
    assert page.count("gcloud composer environments delete") == page.count("*clean up failed*") == 1


def test_no_role_is_bound_that_the_page_does_not_name():
    bound_alone = terraform(r'"roles/([a-zA-Z.]+)"')
    named = set(re.findall(r"`([a-z]+\.[a-zA-Z]+)`", text_of("security")))
    named |= set(re.findall(r"`(iam\.serviceAccountUser)`", text_of("security")))
    assert bound_alone - named == set()
