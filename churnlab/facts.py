"""What the course relies on, from `infra/facts.yaml`, and whether it still holds.

Versions, prices, formulas and limits, each with its page and the day it was read; and what the
course has decided itself and says in more than one place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import yaml

from churnlab import paths
from churnlab.errors import CourseError

FACTS = paths.INFRA / "facts.yaml"
NOTICE = timedelta(days=60)  # before the end of a product's support
SHELF_LIFE = timedelta(days=400)  # of what was read in documentation
WEEK = 168.0  # hours
# A tenth of the time, where PyYAML has it; as safe as the other.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PERIODS = {"second": 1 / 3600, "hour": 1.0, "month": 730.0, "31 days": 744.0}  # hours


@dataclass(frozen=True)
class Citation:
    """A page, and the day it was read."""

    source: str
    accessed: date


@dataclass(frozen=True)
class Product:
    """A product in the version that the course uses."""

    id: str
    name: str
    version: str
    citation: Citation
    end_of_support: date | None = None  # None: no date was published where we looked


@dataclass(frozen=True)
class Price:
    """A list price: US dollars for one unit, kept for a period if it has one."""

    id: str
    name: str
    unit: str
    price: float | None  # None: not published where we looked
    citation: Citation
    per: str = ""  # a key of PERIODS, or empty for a price per use
    free: str = ""  # the monthly allowance, in words

    def usd(self, amount: float | None, hours: float = 1.0) -> float | None:
        """Return US dollars for an amount of units; of a price with a period, kept for hours."""
        if self.price is None or amount is None:
            return None
        return self.price * amount * (hours / PERIODS[self.per] if self.per else 1.0)

    @property
    def rate(self) -> str:
        """The price in words: 0.06 USD per DCU and hour."""
        if self.price is None:
            return "see source"
        cents, rest = f"{self.price:.9f}"[:-7], f"{self.price:.9f}"[-7:].rstrip("0")
        return f"{cents}{rest} USD per {self.unit}" + (f" and {self.per}" if self.per else "")


@dataclass(frozen=True)
class Report:
    """What others report where the vendor publishes too little: US dollars a month."""

    id: str
    says: str
    low: float
    high: float
    citation: Citation

    @property
    def week(self) -> tuple[float, float]:
        """The same in US dollars a week."""
        share = WEEK / PERIODS["month"]
        return self.low * share, self.high * share


@dataclass(frozen=True)
class Fact:
    """A sentence about a product that code or pages rely on, with the numbers in it."""

    id: str
    says: str
    citation: Citation
    values: Mapping[str, float]  # what code computes with, by name


@dataclass(frozen=True)
class Facts:
    """The content of the facts file."""

    products: dict[str, Product]
    prices: dict[str, Price]
    reports: dict[str, Report]
    course: dict[str, str]  # what we have decided ourselves
    facts: dict[str, Fact]

    def cited(self) -> dict[str, Citation]:
        """Return every citation, by the id of its entry."""
        kinds = (self.products, self.prices, self.reports, self.facts)
        return {entry.id: entry.citation for kind in kinds for entry in kind.values()}

    def values(self, name: str) -> Mapping[str, float]:
        """Return the numbers of a fact."""
        return self.facts[name].values


def load_facts(path: Path = FACTS) -> Facts:
    """Read a facts file. Raises CourseError that names the damaged entry."""
    content = read_entries(path, PARTS)
    products = [_product(path, name, entry) for name, entry in content["products"].items()]
    prices = [_price(path, entry) for entry in content["prices"]]
    reports = [_report(path, entry) for entry in content["reports"]]
    course = [_decision(path, entry) for entry in content["course"]]
    facts = [_fact(path, entry) for entry in content["facts"]]
    check_unique(path, [entry.id for entry in (*products, *prices, *reports, *facts)])
    return Facts(by_id(products), by_id(prices), by_id(reports), dict(course), by_id(facts))


@cache
def published() -> Facts:
    """Return the course's own facts, read once: a batch's state asks for them again and again."""
    return load_facts()


PARTS = {"region": str, "currency": str, "products": dict, "course": list}
PARTS |= dict.fromkeys(("prices", "reports", "facts"), list)


def by_id(entries: Iterable) -> dict:
    """Return entries by their ids."""
    return {entry.id: entry for entry in entries}


def node_dcu(cores: float, memory_gb: float) -> float:
    """Return the data compute units of a driver or executor of a batch.

    Raises ValueError if there is no core or less than no memory.
    """
    if cores <= 0 or memory_gb < 0:
        raise ValueError(f"{cores} cores and {memory_gb} GB are no machine")
    units = published().values("spark-compute-units")
    base = min(memory_gb, units["gb_per_vcpu"] * cores)
    above = memory_gb - base
    return units["per_vcpu"] * cores + units["per_gb"] * base + units["per_gb_above"] * above


def problems(facts: Facts, today: date) -> list[str]:
    """Return what has to be looked at again, each with its mend."""
    support = (_support_problem(product, today) for product in facts.products.values())
    return [*filter(None, support), *stale_citations(facts.cited(), today)]


def stale_citations(cited: Mapping[str, Citation], today: date) -> list[str]:
    """Return a line for each entry read too long ago, or on a day that has not come yet."""
    lines = []
    for name, citation in cited.items():
        read = f"{name} was read on {citation.accessed} at {citation.source}"
        if citation.accessed > today:
            lines.append(f"{read}: that day is still to come. Correct `accessed`.")
        elif today - citation.accessed > SHELF_LIFE:
            lines.append(
                f"{read}, more than {SHELF_LIFE.days} days ago: look again, correct it and renew"
                " `accessed`."
            )
    return lines


def _support_problem(product: Product, today: date) -> str:
    end = product.end_of_support
    if end is None or end - today > NOTICE:
        return ""
    ends = "lost support" if end < today else "loses support"
    return (
        f"{product.name} {product.version} {ends} on {end}. Move to a supported version: change"
        f" {product.id} in {FACTS.name}, run the tests, and see {product.citation.source}."
    )


def _product(path: Path, name: str, entry: object) -> Product:
    where = f"{path.name}: product {name!r}"
    fields = check_fields(
        where, entry, {"name", "version", "source", "accessed"}, {"end_of_support"}
    )
    end = fields.get("end_of_support")
    if end is not None and type(end) is not date:
        raise CourseError(f"{where}: end_of_support is {end!r}.", "Write a day, as in 2027-11-26.")
    if not isinstance(fields["version"], str):
        raise CourseError(
            f"{where}: the version {fields['version']!r} is no text.", "Put it in quotes."
        )
    return Product(name, fields["name"], fields["version"], citation(where, fields), end)


def _fact(path: Path, entry: object) -> Fact:
    name = entry.get("id") if isinstance(entry, dict) else entry
    where = f"{path.name}: fact {name!r}"
    fields = check_fields(where, entry, {"id", "says", "source", "accessed"}, {"values"})
    values = fields.get("values", {})
    for word, value in values.items():
        if type(value) not in (int, float):
            raise CourseError(f"{where}: {word} is {value!r}, no number.", "Write a number.")
    return Fact(fields["id"], fields["says"], citation(where, fields), values)


def _decision(path: Path, entry: object) -> tuple[str, str]:
    name = entry.get("id") if isinstance(entry, dict) else entry
    fields = check_fields(f"{path.name}: course {name!r}", entry, {"id", "says", "value"})
    return fields["id"], fields["value"]


def _price(path: Path, entry: object) -> Price:
    name = entry.get("id") if isinstance(entry, dict) else entry
    where = f"{path.name}: price {name!r}"
    required = {"id", "name", "unit", "price", "source", "accessed"}
    fields = check_fields(where, entry, required, {"per", "free"})
    price, per = fields["price"], fields.get("per", "")
    if price is not None and (type(price) not in (int, float) or price < 0):
        raise CourseError(f"{where}: {price!r} is no price.", "Write a number of USD, or null.")
    if per and per not in PERIODS:
        raise CourseError(f"{where}: per {per!r} is unknown.", f"Known are {', '.join(PERIODS)}.")
    return Price(
        fields["id"],
        fields["name"],
        fields["unit"],
        price,
        citation(where, fields),
        per,
        fields.get("free", ""),
    )


def _report(path: Path, entry: object) -> Report:
    name = entry.get("id") if isinstance(entry, dict) else entry
    where = f"{path.name}: report {name!r}"
    fields = check_fields(where, entry, {"id", "says", "month", "source", "accessed"})
    if not isinstance(fields["month"], list) or len(fields["month"]) != 2:
        raise CourseError(f"{where}: month is {fields['month']!r}.", "Write [low, high] in USD.")
    return Report(fields["id"], fields["says"], *fields["month"], citation(where, fields))


def read_entries(path: Path, parts: Mapping[str, type]) -> dict:
    """Read a YAML file of these parts. Raises CourseError for a damaged file or a wrong part."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), LOADER)
    except (OSError, yaml.YAMLError) as error:
        raise CourseError(f"Cannot read {path}: {error}", "Restore the file from Git.") from error
    check_fields(path.name, content, set(parts))
    for name, kind in parts.items():
        if not isinstance(content[name], kind):
            raise CourseError(f"{path.name}: {name} is no {kind.__name__}.", f"Write a {kind}.")
    return content


def check_fields(
    where: str, entry: object, required: set[str], optional: Iterable[str] = ()
) -> dict:
    """Return a mapping that has all required fields and none but these and the optional ones."""
    if not isinstance(entry, dict):
        raise CourseError(f"{where} has no fields.", f"Give it {', '.join(sorted(required))}.")
    missing, unknown = required - entry.keys(), entry.keys() - required - set(optional)
    if missing:
        raise CourseError(f"{where} lacks {', '.join(sorted(missing))}.", "Add what is missing.")
    if unknown:
        raise CourseError(
            f"{where} has unknown fields: {', '.join(sorted(unknown))}.",
            f"Known are {', '.join(sorted(required | set(optional)))}.",
        )
    return entry


def check_unique(path: Path, names: Iterable[str]) -> None:
    """Raise CourseError if a name occurs twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CourseError(f"{path.name}: the id {name!r} occurs twice.", "Choose another id.")
        seen.add(name)


def citation(where: str, entry: Mapping) -> Citation:
    """Return the citation of an entry. Raises CourseError without a link or a day."""
    source, accessed = entry["source"], entry["accessed"]
    if not str(source).startswith("https://"):
        raise CourseError(f"{where}: the source {source!r} is no link.", "Begin it with https://.")
    if type(accessed) is not date:
        raise CourseError(
            f"{where}: accessed is {accessed!r}.", "Write the day you read it, as in 2026-11-24."
        )
    return Citation(source, accessed)
