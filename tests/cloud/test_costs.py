"""What the course costs: computed from facts and assumptions, honest about what is not published."""

import json
import re
from types import SimpleNamespace

import pytest
import yaml
from google.cloud import dataproc_v1 as dataproc

from churnlab import paths
from churnlab.cloud.costs import (
    MODEL,
    Amount,
    batch_cost,
    load_prices,
    module_costs,
    money,
)
from churnlab.errors import CourseError
from churnlab.facts import FACTS, LOADER, node_dcu
from churnlab.run.lineage import NOTEBOOKS
from scripts_generated import serverless_batches

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
MODULES = {module.id: module for module in module_costs()}


@pytest.fixture
def price_files(tmp_path):
    """Write copies of the facts and the cost model, changed by a function; return their paths."""

    def write(change):
        contents = {path: yaml.load(path.read_text("utf-8"), LOADER) for path in (FACTS, MODEL)}
        everything = {name: part for content in contents.values() for name, part in content.items()}
        change(everything)
        for path, content in contents.items():
            kept = {name: everything[name] for name in content if name in everything}
            (tmp_path / path.name).write_text(yaml.dump(kept, Dumper=DUMPER))
        return tmp_path / FACTS.name, tmp_path / MODEL.name

    return write


def test_the_assumed_batch_is_a_driver_and_two_executors():
    assert load_prices().sizes["batch-dcu"] == pytest.approx(3 * node_dcu(4, 16))


def usage(**counts):
    """The approximate usage of a batch."""
    return dataproc.UsageMetrics(counts)


def test_a_batch_is_billed_for_its_compute_and_its_shuffle_storage():
    cost = batch_cost(usage(milli_dcu_seconds=12_000 * 3600, shuffle_storage_gb_seconds=730 * 3600))
    assert [(part.what, part.unit) for part in cost.parts] == [
        ("compute", "DCU-hours"),
        ("shuffle storage", "GB-hours"),
    ]
    assert cost.parts[0].usd == pytest.approx(12 * 0.06)
    assert cost.parts[1].usd == pytest.approx(0.04, rel=1e-3)
    assert not cost.total.lower_bound


def test_a_session_is_billed_at_the_premium_rate():
    hour = usage(milli_dcu_seconds=12_000 * 3600)
    assert batch_cost(hour, premium=True).total.usd == pytest.approx(12 * 0.089)


def test_a_batch_with_accelerators_has_a_lower_bound_because_their_price_was_not_found():
    cost = batch_cost(usage(milli_dcu_seconds=3_600_000, milli_accelerator_seconds=3_600_000))
    assert cost.parts[-1].usd is None
    assert cost.total == Amount(pytest.approx(0.06), lower_bound=True)


def test_a_batch_that_used_nothing_yet_costs_nothing_yet():
    assert str(batch_cost(usage()).total) == "0.00 USD"


def test_the_bill_says_that_a_minute_is_the_least():
    assert "a minute at least" in batch_cost(usage()).note


def test_the_notebook_multiplies_by_the_price_of_the_price_file():
    assert load_prices()["spark-dcu"].price == serverless_batches.DCU_HOUR
    batch = dataproc.Batch(
        {"runtime_info": {"approximate_usage": {"milli_dcu_seconds": 2_160_000}}}
    )
    ours = batch_cost(batch.runtime_info.approximate_usage).total.usd
    assert serverless_batches.run_cost(batch) == pytest.approx(ours)


def test_the_example_of_the_page_costs_what_the_page_says():
    page = (paths.ROOT / "book/costs.md").read_text(encoding="utf-8")
    counts = json.loads(re.search(r"```json\n(.+?)\n```", page)[1])
    example = SimpleNamespace(
        milli_dcu_seconds=int(counts["milliDcuSeconds"]),
        shuffle_storage_gb_seconds=int(counts["shuffleStorageGbSeconds"]),
        milli_accelerator_seconds=0,
    )
    assert f"The answer is {batch_cost(example).total}." in page


def test_a_period_is_taken_in_hours():
    prices = load_prices()
    assert prices["registry-storage"].usd(1, hours=730) == pytest.approx(0.10)
    assert prices["scheduler-job"].usd(1, hours=31 * 24) == pytest.approx(0.10)
    assert prices["function-vcpu"].usd(1, hours=1) == pytest.approx(0.0864)
    assert prices["pipeline-run"].usd(2) == pytest.approx(0.06)


def test_what_stands_bills_a_week_of_hours_and_what_runs_only_its_runs():
    server = MODULES["history-server"]
    assert server.week.usd == pytest.approx((0.06701142 + 2 * 0.010 + 50 * 0.04 / 730) * 168)
    assert server.run.usd == 0
    assert MODULES["batches"].week.usd == 0
    assert MODULES["batches"].run.usd == pytest.approx(12 * 0.05 * 0.06 + 1200 * 0.05 * 0.000054795)


def test_a_forgotten_schedule_bills_the_pipeline_that_it_starts():
    assert MODULES["schedule"].week.usd > MODULES["pipeline"].run.usd


def test_the_stopped_workbench_still_bills_its_disks():
    disks = next(line for line in MODULES["workbench"].lines if line.what == "disks")
    assert disks.bills == "standing" and disks.week == pytest.approx(250 * 0.000136986 * 168)


def test_what_has_no_published_price_makes_a_sum_a_lower_bound():
    assert MODULES["workbench"].week.lower_bound and MODULES["dag"].hour.lower_bound
    assert str(MODULES["workbench"].week).startswith("at least ")
    assert str(MODULES["metastore"].week) == "see source"
    assert str(Amount.of([None, 0.0])) == "see source"


def test_a_perimeter_s_zones_cost_what_google_publishes_by_the_hour():
    perimeter = MODULES["perimeter"]
    assert not perimeter.week.lower_bound
    assert perimeter.week.usd == pytest.approx(7 * 0.000273973 * 168)


def test_a_composer_environment_is_not_invented_but_reported():
    environment = next(line for line in MODULES["dag"].lines if line.what == "environment")
    assert environment.week is None
    low, high = MODULES["dag"].reported_week
    assert (round(low), round(high)) == (69, 92)


@pytest.mark.parametrize(
    "usd, words",
    [
        (0, "0.00 USD"),
        (1234.5, "1,234.50 USD"),
        (0.0099, "0.01 USD"),
        (0.0025, "0.0025 USD"),
        (0.00001, "under 0.0001 USD"),
    ],
)
def test_an_amount_is_in_the_words_of_a_reader(usd, words):
    assert money(usd) == words


def test_an_unknown_price_is_refused_with_the_known_ones():
    with pytest.raises(CourseError, match=r"(?s)no price 'spark'.*spark-dcu"):
        load_prices()["spark"]


def resource(content, what):
    """A resource of a price file, by its words."""
    return next(r for m in content["modules"] for r in m["resources"] if r["what"] == what)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda c: c["prices"][0].update(price=-1), "price 'spark-dcu': -1 is no price"),
        (lambda c: c["prices"][0].update(price="0.06"), "price 'spark-dcu': '0.06' is no price"),
        (lambda c: c["prices"][0].update(per="day"), "per 'day' is unknown"),
        (lambda c: c["prices"][0].update(source="pricing"), "the source 'pricing' is no link"),
        (lambda c: c["prices"][0].pop("accessed"), "price 'spark-dcu' lacks accessed"),
        (lambda c: c["prices"].append(c["prices"][0]), "the id 'spark-dcu' occurs twice"),
        (lambda c: c["modules"].append(c["modules"][0]), "the id 'provisioning' occurs twice"),
        (lambda c: c["reports"][0].update(month=300), "report 'composer-idle': month is 300"),
        (lambda c: c.pop("sizes"), "lacks sizes"),
        (lambda c: resource(c, "metastore").update(price="hive"), "no price 'hive'"),
        (lambda c: resource(c, "metastore").update(bills="always"), "bills 'always' is unknown"),
        (lambda c: resource(c, "address").update(bills="use"), "use does not go with 0.005 USD"),
        (lambda c: resource(c, "metastore").update(quantity="big"), "'big' is neither a number"),
        (lambda c: resource(c, "metastore").pop("because"), "'metastore' lacks because"),
        (lambda c: resource(c, "environment").update(reported="x"), "there is no report 'x'"),
    ],
)
def test_a_damaged_price_file_is_refused_and_the_entry_named(price_files, change, words):
    with pytest.raises(CourseError, match=re.escape(words)):
        load_prices(*price_files(change))


def test_a_price_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CourseError, match=r"Cannot read .*nowhere\.yaml"):
        load_prices(tmp_path / "nowhere.yaml")
    with pytest.raises(CourseError, match=r"Cannot read .*nowhere\.yaml"):
        load_prices(model=tmp_path / "nowhere.yaml")


def test_every_price_belongs_to_a_module_or_a_batch():
    used = {line.price.id for module in MODULES.values() for line in module.lines}
    assert set(load_prices().entries) - used == {"spark-accelerator"}


def terraform_variables() -> set[str]:
    """The names of Terraform's variables."""
    code = (paths.INFRA / "variables.tf").read_text(encoding="utf-8")
    return set(re.findall(r'^variable "(\w+)"', code, flags=re.MULTILINE))


def test_every_toggle_of_terraform_has_its_costs_and_no_other_is_named():
    toggles = {module.toggle for module in MODULES.values()} - {""}
    assert toggles <= terraform_variables()
    creates = {name for name in terraform_variables() if name.startswith("create_")}
    assert creates - toggles == {"create_budget"}  # a budget only warns


def test_every_step_that_leaves_a_record_is_in_the_cost_model():
    titles = " ".join(module.title for module in MODULES.values()).replace("01–06", "03 04 05 06")
    assert {notebook[:2] for notebook in NOTEBOOKS.values()} <= set(re.findall(r"\d\d", titles))


def terraform(file: str) -> str:
    """A file of Terraform without its comments."""
    code = (paths.INFRA / file).read_text(encoding="utf-8")
    return re.sub(r"(?m)^\s*#.*$", "", code)


def default(variable: str) -> str:
    """The default of one of Terraform's variables, as it is written."""
    block = re.search(rf'(?ms)^variable "{variable}" \{{.*?^\}}', terraform("variables.tf"))[0]
    return re.search(r"default\s*=\s*(.+)", block)[1]


def line(module: str, what: str):
    """What one resource of a module costs."""
    return next(line for line in MODULES[module].lines if line.what == what)


def holds(module: str, what: str, quantity: float) -> bool:
    """Whether a resource of a module is billed for this quantity."""
    found = line(module, what)
    return found.hour == pytest.approx(found.price.usd(quantity, hours=1))


def test_the_assumed_workbench_is_the_one_of_terraform():
    disks = re.findall(r"disk_size_gb\s*=\s*\"?(\d+)", terraform("workbench.tf"))
    types = set(re.findall(r"disk_type\s*=\s*\"(\w+)", terraform("workbench.tf")))
    assert holds("workbench", "disks", sum(map(int, disks))) and types == {"PD_BALANCED"}
    machine = line("workbench", "machine")
    assert default("workbench_machine_type") == f'"{machine.price.id.removeprefix("vm-")}"'
    stops = int(default("idle_minutes")) / 60
    assert machine.week == pytest.approx(machine.price.usd(1, hours=stops))


def test_the_assumed_server_is_the_one_of_terraform_and_stands_only_on_an_endpoint():
    limits = re.search(r'limits = \{ cpu = "(\d+)", memory = "(\d+)Gi" \}', terraform("serving.tf"))
    assert holds("serving-run", "processor", int(limits[1]))
    assert holds("serving-run", "memory", int(limits[2]))
    assert default("serving_min_instances") == "0" and MODULES["serving-run"].week.usd == 0
    machine = line("serving-endpoint", "machine")
    assert machine.because.count(default("serving_machine_type").strip('"')) == 1
    assert machine.bills == "standing" and str(MODULES["serving-endpoint"].week) == "see source"
    assert default("serving") == '"none"'


def test_the_assumed_history_server_metastore_and_function_are_those_of_terraform():
    spark = terraform("spark.tf")
    machine = re.search(r'machine_type\s*=\s*"([\w-]+)"', spark)[1]
    assert line("history-server", "machine").price.id == f"vm-{machine}"
    assert holds("history-server", "Dataproc", int(machine.rsplit("-", 1)[1]))
    disk = re.search(r"boot_disk_size_gb\s*=\s*(\d+)", spark)[1]
    assert holds("history-server", "disk", int(disk))
    tier = re.search(r'tier\s*=\s*"(\w+)"', spark)[1]
    assert line("metastore", "metastore").price.id == f"metastore-{tier.lower()}"
    memory = re.search(r'available_memory\s*=\s*"(\d+)Gi"', terraform("function.tf"))[1]
    assert holds("function", "memory", int(memory))


def test_everything_with_a_toggle_is_off_by_default():
    toggles = {module.toggle for module in MODULES.values()} - {""}
    assert {default(toggle) for toggle in toggles} == {"false"}
