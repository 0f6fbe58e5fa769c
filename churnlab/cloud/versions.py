"""Versions of products and facts about them, and whether they still hold: `infra/versions.yaml`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import yaml

from churnlab import paths
from churnlab.errors import CourseError

VERSIONS = paths.INFRA / "versions.yaml"
NOTICE = timedelta(days=60)  # before the end of a product's support
SHELF_LIFE = timedelta(days=400)  # of what was read in documentation


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
class Fact:
    """A sentence about a product that code or pages rely on."""

    id: str
    says: str
    citation: Citation


@dataclass(frozen=True)
class Versions:
    """The content of the versions file."""

    products: dict[str, Product]
    facts: dict[str, Fact]


def load_versions(path: Path = VERSIONS) -> Versions:
    """Read a versions file. Raises CourseError that names the damaged entry."""
    content = read_entries(path, {"products": dict, "facts": list})
    products = {name: _product(path, name, entry) for name, entry in content["products"].items()}
    facts = [_fact(path, entry) for entry in content["facts"]]
    check_unique(path, (fact.id for fact in facts))
    return Versions(products, {fact.id: fact for fact in facts})


def problems(versions: Versions, today: date) -> list[str]:
    """Return what has to be looked at again, each with its mend."""
    products = versions.products.values()
    cited = {entry.id: entry.citation for entry in (*products, *versions.facts.values())}
    return [
        *filter(None, (_support_problem(product, today) for product in products)),
        *stale_citations(cited, today),
    ]


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
        f" {product.id} in {VERSIONS.name}, run the tests, and see {product.citation.source}."
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
    fields = check_fields(where, entry, {"id", "says", "source", "accessed"})
    return Fact(fields["id"], fields["says"], citation(where, fields))


def read_entries(path: Path, parts: Mapping[str, type]) -> dict:
    """Read a YAML file of these parts. Raises CourseError for a damaged file or a wrong part."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
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
