"""Reasons: what moves a customer's probability, in words that a caller can use."""

import numpy as np
import pandas as pd
import pytest
from churn.contract import AMOUNTS, CATEGORIES
from churn.reasons import in_words, reasons_of, strongest

EVERY_VALUE = [(name, value) for name, values in CATEGORIES.items() for value in values]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("contract", "Month-to-month", "month-to-month contract"),
        ("payment_method", "Electronic check", "payment by electronic check"),
        ("internet_service", "DSL", "DSL internet"),
        ("internet_service", "No", "no internet service"),
        ("tech_support", "No", "no tech support"),
        ("tech_support", "No internet service", "no internet service"),
        ("streaming_tv", "Yes", "streaming TV"),
        ("senior_citizen", "0", "not a senior citizen"),
        ("gender", "Female", "female"),
        ("tenure", 1, "customer for 1 month"),
        ("tenure", 12.0, "customer for 12 months"),
        ("monthly_charges", 70.35, "$70.35 a month"),
        ("total_charges", 1397.48, "$1,397.48 paid so far"),
        ("payment_method", "Telepathy", "payment by telepathy"),
        ("favourite_colour", "Teal", "favourite colour: Teal"),
    ],
)
def test_a_column_s_value_is_said_as_a_customer_would(column, value, words):
    assert in_words(column, value) == words


def test_every_value_of_the_contract_has_words_of_its_own_column():
    said = {(name, in_words(name, value)) for name, value in EVERY_VALUE}
    assert len(said) == len(EVERY_VALUE)
    assert not any(":" in words for _, words in said)
    assert not any("_" in in_words(name, 3) for name in AMOUNTS)


def test_the_strongest_contributions_count_up_or_down():
    moves = np.array([[0.1, -0.3, 0.2], [0.0, 0.0, 0.5]])
    assert strongest(moves, 2).tolist() == [[1, 2], [2, 0]]


def test_reasons_say_what_raises_and_what_lowers_and_leave_out_what_moves_nothing():
    people = pd.DataFrame({"contract": ["Two year", "Month-to-month"], "tenure": [70, 1]}, [8, 9])
    moves = np.array([[-0.2, 0.05], [0.1, 0.0]])
    found = reasons_of(people, ["contract", "tenure"], moves, 3)
    assert found.index.tolist() == [8, 9]
    assert found.loc[8].to_dict() == {
        "feature": ["contract", "tenure"],
        "contribution": [-0.2, 0.05],
        "raises": ["customer for 70 months"],
        "lowers": ["two year contract"],
    }
    assert found.loc[9].tolist() == [["contract"], [0.1], ["month-to-month contract"], []]
