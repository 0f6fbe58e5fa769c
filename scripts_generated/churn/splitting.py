# Generated from notebooks/03-preprocessing.ipynb by `make export`; do not edit.
"""The split of the customers into train, test and scoring, by a hash of their id."""

from pyspark.sql import functions as F

SPLIT_SALT = "churnlab"


def hash_bucket(column: str, salt: str, buckets: int) -> F.Column:
    """Return a uniform bucket in [0, buckets) from the MD5 of salt and value, as any tool can."""
    digest = F.md5(F.concat(F.lit(f"{salt}:"), F.col(column)))
    return (F.conv(F.substring(digest, 1, 8), 16, 10).cast("long") % buckets).cast("int")


def split_column() -> F.Column:
    """Return the customer's split: train (70 %), test (20 %) or scoring (10 %)."""
    bucket = hash_bucket("customer_id", SPLIT_SALT, 100)
    return F.when(bucket < 70, "train").when(bucket < 90, "test").otherwise("scoring")
