"""What the course costs on Google Cloud: `infra/cost_model.yaml` at the prices of `facts.yaml`.

All amounts are US dollars in us-central1, before free allowances and discounts. An amount is None
where no price is published where we looked; a sum over such amounts is a lower bound.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from churnlab import paths
from churnlab.errors import CourseError
from churnlab.facts import (
    FACTS,
    WEEK,
    Price,
    Report,
    check_fields,
    check_unique,
    load_facts,
    read_entries,
)

MODEL = paths.INFRA / "cost_model.yaml"
BILLS = ("standing", "running", "use")
BATCH_MINIMUM = "The service bills a minute at least, and accelerators five."


@dataclass(frozen=True)
class Amount:
    """A sum in US dollars; a lower bound if something in it has no published price."""

    usd: float
    lower_bound: bool = False

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Amount":
        """Add amounts up."""
        values = list(values)
        return cls(sum(value or 0.0 for value in values), None in values)

    def __str__(self) -> str:
        if self.lower_bound:
            return f"at least {money(self.usd)}" if self.usd else "see source"
        return money(self.usd)


@dataclass(frozen=True)
class Line:
    """A resource: US dollars for an hour of it, for a run, and for a week in which nobody looks."""

    what: str
    price: Price
    bills: str  # one of BILLS
    hour: float | None
    run: float | None
    week: float | None
    because: str
    report: Report | None = None


@dataclass(frozen=True)
class ModuleCost:
    """What a module creates, and the Terraform variable that does so, if there is one."""

    id: str
    title: str
    toggle: str
    lines: tuple[Line, ...]

    @property
    def hour(self) -> Amount:
        """An hour in which everything of the module exists and runs."""
        return Amount.of(line.hour for line in self.lines)

    @property
    def run(self) -> Amount:
        """One run of what runs."""
        return Amount.of(line.run for line in self.lines)

    @property
    def week(self) -> Amount:
        """A week in which nobody looks."""
        return Amount.of(line.week for line in self.lines)

    @property
    def reported_week(self) -> tuple[float, float] | None:
        """What others report for this week, low and high, where it cannot be computed."""
        return next((line.report.week for line in self.lines if line.report), None)


@dataclass(frozen=True)
class UsedPart:
    """A part of a batch's bill: an amount of a unit, and US dollars."""

    what: str
    amount: float
    unit: str
    usd: float | None


@dataclass(frozen=True)
class Cost:
    """The bill of a batch, approximately."""

    parts: tuple[UsedPart, ...]
    note: str = BATCH_MINIMUM

    @property
    def total(self) -> Amount:
        """All parts together."""
        return Amount.of(part.usd for part in self.parts)


@dataclass(frozen=True)
class Prices:
    """The published prices, and what the modules need of them."""

    entries: dict[str, Price]
    reports: dict[str, Report]
    sizes: dict[str, float]
    modules: tuple[dict, ...]

    def __getitem__(self, name: str) -> Price:
        """Return a price. Raises CourseError for an unknown id."""
        if name not in self.entries:
            raise CourseError(
                f"There is no price {name!r} in {FACTS.name}.",
                f"Prices are {', '.join(sorted(self.entries))}.",
            )
        return self.entries[name]


class Usage(Protocol):
    """`runtime_info.approximate_usage` of a batch, or another object with its counts."""

    milli_dcu_seconds: int
    shuffle_storage_gb_seconds: int
    milli_accelerator_seconds: int


def money(usd: float) -> str:
    """Return US dollars in words: to the cent, and below a cent to two digits."""
    if usd == 0 or usd >= 0.0095:
        return f"{usd:,.2f} USD"
    return f"{usd:.2g} USD" if usd >= 0.0001 else "under 0.0001 USD"


def batch_cost(usage: Usage, prices: Prices | None = None, premium: bool = False) -> Cost:
    """Return the bill of a batch or session from its approximate usage.

    The counts are thousandths of a compute unit times seconds, GB times seconds and thousandths of
    an accelerator times seconds. ``premium`` takes the compute of the premium tier, as sessions do;
    shuffle storage is taken to be of the standard tier.
    """
    prices = prices or load_prices()
    compute = prices["spark-dcu-premium" if premium else "spark-dcu"]
    shuffle, accelerator = prices["spark-shuffle"], prices["spark-accelerator"]
    used = [
        ("compute", usage.milli_dcu_seconds / 1000 / 3600, "DCU-hours", compute),
        ("shuffle storage", usage.shuffle_storage_gb_seconds / 3600, "GB-hours", shuffle),
        ("accelerators", usage.milli_accelerator_seconds / 1000 / 3600, "hours", accelerator),
    ]
    parts = [
        UsedPart(what, amount, unit, price.usd(amount))
        for what, amount, unit, price in used
        if amount or what == "compute"
    ]
    return Cost(tuple(parts))


def module_costs(prices: Prices | None = None) -> list[ModuleCost]:
    """Return what each module of the course costs, in the order of the cost model."""
    prices = prices or load_prices()
    return [
        ModuleCost(
            module["id"],
            module["title"],
            module.get("toggle", ""),
            tuple(_line(prices, module["id"], resource) for resource in module["resources"]),
        )
        for module in prices.modules
    ]


def load_prices(facts: Path = FACTS, model: Path = MODEL) -> Prices:
    """Read both files. Raises CourseError that names the damaged entry."""
    published = load_facts(facts)
    content = read_entries(model, {"sizes": dict, "modules": list})
    modules = [
        check_fields(f"{model.name}: module {entry!r:.40}", entry, *MODULE_FIELDS)
        for entry in content["modules"]
    ]
    check_unique(model, (module["id"] for module in modules))
    prices = Prices(published.prices, published.reports, content["sizes"], tuple(modules))
    module_costs(prices)  # a wrong resource shows here, not in the middle of a page
    return prices


MODULE_FIELDS = ({"id", "title", "resources"}, {"toggle"})
RESOURCE_FIELDS = (
    {"what", "price", "quantity", "bills", "because"},
    {"hours", "amount", "week", "reported"},
)


def _line(prices: Prices, module: str, entry: object) -> Line:
    name = entry.get("what") if isinstance(entry, dict) else entry
    where = f"{MODEL.name}: module {module!r}, {name!r}"
    fields = check_fields(where, entry, *RESOURCE_FIELDS)
    price, bills = prices[fields["price"]], fields["bills"]
    if bills not in BILLS:
        raise CourseError(f"{where}: bills {bills!r} is unknown.", f"Known are {', '.join(BILLS)}.")
    if bool(price.per) != (bills != "use"):
        raise CourseError(
            f"{where}: {bills} does not go with {price.rate}.",
            "A price with a period is of what stands or runs, one without of a use.",
        )
    report = fields.get("reported")
    if report and report not in prices.reports:
        raise CourseError(
            f"{where}: there is no report {report!r}.", f"Reports are {', '.join(prices.reports)}."
        )
    return Line(
        fields["what"],
        price,
        bills,
        *_amounts(price, bills, lambda field: _number(prices, where, fields.get(field, 0))),
        fields["because"],
        prices.reports.get(report),
    )


def _amounts(price: Price, bills: str, number: Callable) -> tuple[float | None, ...]:
    """US dollars for an hour, a run and a forgotten week of a resource with these numbers."""
    hour = price.usd(number("quantity"))
    if bills == "standing":
        return hour, 0.0, _times(hour, WEEK)
    if bills == "running":
        return hour, _times(hour, number("hours")), _times(hour, number("week"))
    return 0.0, _times(hour, number("amount")), _times(hour, number("week"))


def _times(usd: float | None, number: float) -> float | None:
    return None if usd is None else usd * number


def _number(prices: Prices, where: str, value: object) -> float | None:
    """A number, or the named size."""
    if value is None or type(value) in (int, float):
        return value
    if value not in prices.sizes:
        raise CourseError(
            f"{where}: {value!r} is neither a number nor a size.",
            f"Sizes are {', '.join(prices.sizes)}.",
        )
    return prices.sizes[value]
