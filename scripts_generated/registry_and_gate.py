# Generated from notebooks/15-registry-and-gate.ipynb by `make export`; do not edit.
"""Let a challenger take the champion's place only if the same customers say that it is better, and
no worse where it must not be.
"""

import argparse

from churn.challenge import challenge, next_challenger
from churn.gate import Limits
from churn.lake import check_lake
from churn.programs import run_program
from churn.runs import check_pipeline_id
from churn.tables import dataset_root


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; a missing or wrong option ends it with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--pipeline-id",
        type=str,
        required=True,
        help="key of this run in every table, such as 20261123t051500-3f9c2a",
    )
    parser.add_argument(
        "--lake", type=str, required=True, help="root of the lake: a folder or gs://bucket/path"
    )
    parser.add_argument(
        "--dataset",
        type=str,
        default="churn",
        help="the tables: below the lake's warehouse, or bigquery://project.dataset (default: %(default)s)",
    )
    parser.add_argument(
        "--model-version",
        type=str,
        default="next",
        help="a registered version, or the best that does not score yet (default: %(default)s)",
    )
    parser.add_argument(
        "--min-average-precision",
        type=float,
        default=0.6,
        help="below it no model scores, first or not (default: %(default)s)",
    )
    parser.add_argument(
        "--min-saved",
        type=float,
        default=100.0,
        help="offers saved for 1,000 customers that make up for an equal ranking (default: %(default)s)",
    )
    parser.add_argument(
        "--min-recall",
        type=float,
        default=0.5,
        help="share of each group's churners that has to be found (default: %(default)s)",
    )
    parser.add_argument(
        "--missed-churner-cost",
        type=float,
        default=5.0,
        help="price of losing a churner we did not warn about, in offers (default: %(default)s)",
    )
    parser.add_argument(
        "--offer-cost",
        type=float,
        default=1.0,
        help="price of an offer to a customer (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/15-registry-and-gate.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    model_version = options.model_version
    min_average_precision = options.min_average_precision
    min_saved = options.min_saved
    min_recall = options.min_recall
    missed_churner_cost = options.missed_churner_cost
    offer_cost = options.offer_cost

    # Key and lake are checked first, as always.
    check_pipeline_id(pipeline_id)
    lake = check_lake(lake)
    tables = dataset_root(lake, dataset)

    # Who challenges, and what it has to keep:
    challenger = next_challenger(tables, model_version)
    limits = Limits(
        min_average_precision=min_average_precision,
        min_saved=min_saved,
        min_recall=min_recall,
        missed_churner_cost=missed_churner_cost,
        offer_cost=offer_cost,
    )

    # Now the gate. Whoever reads the log wants to know what it said, and why.
    verdict = challenge(challenger, lake, tables, pipeline_id, "registry-gate", limits)
    said = (
        "is the champion" if not verdict.refusals else "is refused: " + "; ".join(verdict.refusals)
    )
    print(f"{verdict.model_version} {said}", flush=True)


if __name__ == "__main__":
    run_program(main)
