# Generated from notebooks/14-explain.ipynb by `make export`; do not edit.
"""Reasons: the strongest contributions of a customer, in words that a caller can use."""

import numpy as np
import pandas as pd

PHRASES = {
    "contract": "{} contract",
    "internet_service": "{} internet",
    "payment_method": "payment by {}",
    "tenure": "customer for {} months",
    "monthly_charges": "${} a month",
    "total_charges": "${} paid so far",
}

HAS = {
    "partner", "dependents", "phone_service", "multiple_lines", "online_security",
    "online_backup", "device_protection", "tech_support", "streaming_tv", "streaming_movies",
    "paperless_billing",
}  # fmt: skip

SAYINGS = {
    ("senior_citizen", "0"): "not a senior citizen",
    ("senior_citizen", "1"): "senior citizen",
    ("tenure", "1"): "customer for 1 month",
    ("internet_service", "No"): "no internet service",
}


def in_words(column: str, value: str | float) -> str:
    """Return what a column says about a customer, such as ``month-to-month contract``."""
    text = value if isinstance(value, str) else f"{value:,.2f}".removesuffix(".00")
    if saying := SAYINGS.get((column, text)):
        return saying
    thing = column.replace("_", " ").replace(" tv", " TV")
    if column in HAS and text in ("Yes", "No"):
        return thing if text == "Yes" else f"no {thing}"
    spoken = text if text[:2].isupper() else text[:1].lower() + text[1:]  # DSL stays
    if column in PHRASES:
        return PHRASES[column].format(spoken)
    return spoken if column == "gender" or text.startswith("No ") else f"{thing}: {text}"


def strongest(contributions: np.ndarray, count: int) -> np.ndarray:
    """Return customers × count: the columns' numbers, by the size of what they contribute."""
    return np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :count]


def reasons_of_one(
    names: list[str], values: tuple, contributions: np.ndarray, order: np.ndarray
) -> tuple[list[str], list[float], list[str], list[str]]:
    """Return a customer's reasons in this order: columns, contributions, what raises, what lowers.

    A column that contributes nothing is no reason.
    """
    moved = [(column, float(contributions[column])) for column in order]
    moved = [(column, move) for column, move in moved if move]
    words = [(in_words(names[column], values[column]), move) for column, move in moved]
    raises = [said for said, move in words if move > 0]
    lowers = [said for said, move in words if move < 0]
    return [names[column] for column, _ in moved], [move for _, move in moved], raises, lowers


def reasons_of(
    customers: pd.DataFrame, names: list[str], contributions: np.ndarray, count: int
) -> pd.DataFrame:
    """Return the strongest reasons of each customer: four lists in a row.

    ``feature`` and ``contribution`` by size; ``raises`` and ``lowers`` say the same in words.
    """
    values = zip(*(customers[name].tolist() for name in names), strict=True)
    rows = zip(values, contributions, strongest(contributions, count), strict=True)
    found = [reasons_of_one(names, *row) for row in rows]
    return pd.DataFrame(found, customers.index, ["feature", "contribution", "raises", "lowers"])
