"""What customers would cost on Serverless for Apache Spark, from what was measured on one machine.

Nothing here is a promise: `Assumptions` names all that is assumed, and a range is two of them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from churnlab import paths
from churnlab.cloud.costs import Cost, Prices, Usage, batch_cost, load_prices
from churnlab.errors import CourseError
from churnlab.facts import node_dcu, published

GROWTH = paths.ROOT / "benchmarks" / "results" / "growth.json"
HOUR = 3600
MILLION = 1_000_000


@dataclass(frozen=True)
class Assumptions:
    """What a projection rests on: the batch's machines, and how ours compares with them."""

    customers: int = 1_000_000_000
    executors: int = 20
    cores: int = 4  # of each executor and of the driver
    memory_gb: float = 16.0
    disk_gb: float = 400.0  # of each executor and of the driver
    efficiency: float = 0.75  # share of the executors' time in which their cores work
    speed: float = 0.75  # of a cloud's virtual core, beside the one that was measured
    start_seconds: float = 90.0  # until the executors are there; all of it is billed


# The best and the worst that we would bet on.
OPTIMIST = Assumptions(efficiency=0.9, speed=1.0, start_seconds=60.0)
PESSIMIST = Assumptions(efficiency=0.5, speed=0.5, start_seconds=120.0)


@dataclass(frozen=True)
class Projection:
    """What a batch would take and use; it fits ``batch_cost`` as a real batch's usage does."""

    seconds: float
    milli_dcu_seconds: float
    shuffle_storage_gb_seconds: float
    milli_accelerator_seconds: int = 0

    @property
    def dcu_hours(self) -> float:
        """Compute units times hours."""
        return self.milli_dcu_seconds / 1000 / HOUR

    def cost(self, prices: Prices | None = None) -> Cost:
        """Return its bill at list prices."""
        return batch_cost(self, prices)


def project(core_seconds: float, assumed: Assumptions) -> Projection:
    """Return a batch's projection.

    ``core_seconds`` is how long one of our cores works on a million customers.
    """
    work = core_seconds * assumed.customers / MILLION / assumed.speed
    cores = assumed.executors * assumed.cores * assumed.efficiency
    least = published().values("spark-minimum-charge")["seconds"]
    seconds = max(least, assumed.start_seconds + work / cores)
    machines = assumed.executors + 1
    dcu = machines * node_dcu(assumed.cores, assumed.memory_gb)
    return Projection(seconds, 1000 * dcu * seconds, machines * assumed.disk_gb * seconds)


def project_range(core_seconds: float, assumed: Assumptions) -> tuple[Projection, Projection]:
    """Return the projections of an optimist and of a pessimist on the same machines."""
    return tuple(
        project(
            core_seconds,
            replace(
                assumed,
                efficiency=mood.efficiency,
                speed=mood.speed,
                start_seconds=mood.start_seconds,
            ),
        )
        for mood in (OPTIMIST, PESSIMIST)
    )


def core_seconds_a_million(growth: Mapping) -> dict[str, float]:
    """Return how long a core works on a million customers more, by step, from a growth's report.

    It is the difference of the two largest sizes; of one size alone it is the whole.
    """
    found = {}
    for step in ("preprocessing", "training", "scoring"):
        measured = [
            (size["rows"], size["steps"][step]["core_seconds"])
            for size in growth["sizes"]
            if step in size["steps"]
        ]
        if not measured:
            continue
        *smaller, (rows, seconds) = sorted(measured)
        less, spent = smaller[-1] if smaller else (0, 0.0)
        found[step] = (seconds - spent) / (rows - less) * MILLION
    return found


def read_growth(file: Path = GROWTH) -> dict:
    """Return the report of the growth. Raises CourseError if there is none."""
    if not file.exists():
        mend = "Measure it: `make bench ROWS=10000,100000,1000000`."
        raise CourseError(f"There is no growth at {file.name}.", mend)
    return json.loads(file.read_text(encoding="utf-8"))


def reconcile(usage: Usage, core_seconds: float, assumed: Assumptions) -> float:
    """Return how many times its projection a real batch has cost; 1.0 is a perfect guess.

    ``usage`` is the batch's own count (see `churnlab cloud costs`); ``assumed`` has its customers
    and its machines.
    """
    prices = load_prices()
    expected = project(core_seconds, assumed).cost(prices).total.usd
    return batch_cost(usage, prices).total.usd / expected
