"""Estimate the generator's constants from the real customers and print them for notebook 13.

    python benchmarks/estimate_generator.py path/to/customers.csv

Every yes/no decision of the generator is a logistic regression on the decisions before it. What is
printed are counts by month, average prices and regression coefficients: no customer's row.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

BANDS = (1, 3, 6, 9, 12, 18, 24, 30, 36, 42, 48, 54, 60, 66, 71, 72)
ADD_ONS = {"tv": 2, "movies": 2, "security": 1, "backup": 1, "protection": 1, "support": 1}
UNITS = {"no_phone": -4, "lines": 1, **ADD_ONS}


def decisions(raw: pd.DataFrame) -> pd.DataFrame:
    """Return the real customers as yes/no decisions, in the order of the generator."""

    def yes(column: str, value: str = "Yes") -> pd.Series:
        return raw[column] == value

    flags = {
        "month_to_month": yes("Contract", "Month-to-month"),
        "two_year": yes("Contract", "Two year"),
        "no_internet": yes("InternetService", "No"),
        "fiber": yes("InternetService", "Fiber optic"),
        "no_phone": yes("PhoneService", "No"),
        "lines": yes("MultipleLines"),
        "tv": yes("StreamingTV"),
        "movies": yes("StreamingMovies"),
        "security": yes("OnlineSecurity"),
        "backup": yes("OnlineBackup"),
        "protection": yes("DeviceProtection"),
        "support": yes("TechSupport"),
        "senior": raw["SeniorCitizen"] == 1,
        "partner": yes("Partner"),
        "dependents": yes("Dependents"),
        "male": yes("gender", "Male"),
        "paperless": yes("PaperlessBilling"),
        "electronic": yes("PaymentMethod", "Electronic check"),
        "mailed": yes("PaymentMethod", "Mailed check"),
        "bank": yes("PaymentMethod", "Bank transfer (automatic)"),
        "churn": yes("Churn"),
    }
    return pd.DataFrame(flags).astype(int)


def possible(name: str, flags: pd.DataFrame, tenure: pd.Series) -> pd.Series:
    """Tell which customers have the choice: without internet there is no streaming."""
    conditions = {
        "month_to_month": tenure > 0,
        "two_year": flags.month_to_month == 0,
        "fiber": flags.no_internet == 0,
        "no_phone": (flags.no_internet == 0) & (flags.fiber == 0),
        "lines": flags.no_phone == 0,
        "mailed": flags.electronic == 0,
        "bank": (flags.electronic == 0) & (flags.mailed == 0),
        "churn": tenure > 0,
    }
    if name in ADD_ONS:
        return flags.no_internet == 0
    return conditions.get(name, tenure >= 0)


def price_level(flags: pd.DataFrame, before: list[str]) -> pd.Series:
    """Return what earlier decisions add to the price of phone and internet, in units of 5 USD."""
    return sum(units * flags[name] for name, units in UNITS.items() if name in before)


def estimate(name: str, flags: pd.DataFrame, tenure: pd.Series) -> dict[str, int]:
    """Return one decision's coefficients, log-odds in hundredths.

    An L1 fit chooses the earlier decisions that matter, a second fit estimates them.
    """
    able = possible(name, flags, tenure)
    answer = flags.loc[able, name]
    before = [] if name == "male" else list(flags.columns[: flags.columns.get_loc(name)])
    band = pd.Series(np.searchsorted(BANDS, tenure), index=tenure.index)
    bands = (
        pd.get_dummies(band)[able]
        .set_axis([f"band {b}" for b in range(len(BANDS))], axis=1)
        .astype(int)
    )
    levels = pd.DataFrame(index=bands.index)
    if name in ADD_ONS:
        level = price_level(flags, before).astype(str)
        product = np.where(flags.fiber == 1, "fiber ", "dsl ")
        levels = pd.get_dummies(product + level)[able].astype(int)
        levels = levels.loc[:, levels.sum() >= 5]
        before = [b for b in before if b not in ("no_phone", "lines")]
    others = flags.loc[
        able, [b for b in before if b != "male" and flags.loc[able, b].nunique() > 1]
    ]
    if name == "male":
        bands = bands.assign(**{c: 1 for c in bands}).iloc[:, :1]
    if len(others.columns):
        both = pd.concat([bands, others], axis=1)
        choice = LogisticRegression(l1_ratio=1, solver="saga", C=1.0, tol=1e-3, random_state=0)
        kept = abs(choice.fit(both, answer).coef_[0][len(bands.columns) :]) > 1e-6
        others = others.loc[:, kept]
    table = pd.concat([bands, others, levels], axis=1)
    fit = LogisticRegression(C=50, max_iter=5000, fit_intercept=False).fit(table, answer)
    return {c: round(100 * v) for c, v in zip(table.columns, fit.coef_[0], strict=True)}


def table(rows: list[str], columns: list[str], cells: dict) -> str:
    """Return a text table, a row a decision, as notebook 13 holds it."""
    width = max(map(len, rows))
    shown = [[str(cells.get((row, c), ".")) for row in rows] for c in columns]
    sizes = [max(map(len, [c, *texts])) for c, texts in zip(columns, shown, strict=True)]
    heads = " ".join(c.rjust(s) for c, s in zip(columns, sizes, strict=True))
    lines = [f"{'decision'.ljust(width)} {heads}"]
    for number, row in enumerate(rows):
        values = (texts[number].rjust(s) for texts, s in zip(shown, sizes, strict=True))
        lines.append(f"{row.ljust(width)} {' '.join(values)}")
    return "\n".join(lines)


def constants(raw: pd.DataFrame) -> dict[str, tuple | str]:
    """Return the generator's constants by name: tuples, and the three tables as text."""
    raw = raw.reset_index(drop=True)
    tenure, flags = raw["tenure"], decisions(raw)
    internet = 1 - flags.no_internet
    extras = price_level(flags, list(UNITS))
    list_price = 20 + 25 * internet + 25 * flags.fiber + 5 * extras
    bill = raw["MonthlyCharges"].groupby(list_price).mean().round(2)
    fits = {name: estimate(name, flags, tenure) for name in flags}
    bands, effects, levels = {}, {}, {}
    for name, fit in fits.items():
        for key, value in fit.items():
            kind, _, number = key.partition(" ")
            if kind == "band":
                bands[name, number] = value
            elif kind in ("dsl", "fiber") and number:
                levels[f"{name}_{kind}", number] = value
            elif value:
                effects[name, str(1 + flags.columns.get_loc(key))] = value
    for b in range(len(BANDS)):
        bands["male", str(b)] = bands["male", "0"]
    rows = [f"{name}_{kind}" for name in ADD_ONS for kind in ("dsl", "fiber")]
    numbers = [str(n) for n in range(1, len(flags.columns))]
    return {
        "MONTHS": tuple(int(n) for n in np.bincount(tenure, minlength=73)),
        "BILLS": tuple(bill),
        "BY_BAND": table(list(flags), [str(b) for b in range(len(BANDS))], bands),
        "BY_DECISION": table(list(flags), numbers, effects),
        "BY_PRICE": table(rows, [str(n) for n in range(-4, 10)], levels),
    }


def main() -> None:
    """Read the real file named on the command line and print every constant."""
    for name, value in constants(pd.read_csv(sys.argv[1])).items():
        print(f"{name} = {value}" if isinstance(value, tuple) else f'{name} = """\n{value}\n"""')


if __name__ == "__main__":
    main()
