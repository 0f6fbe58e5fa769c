"""The data contract: which raw rows pass, why the others do not, and who goes to which split."""

import gzip
import hashlib

import pytest
from churn.contract import (
    AMOUNTS,
    CATEGORIES,
    RAW_COLUMNS,
    check_share,
    clean,
    judge,
    raw_files,
    read_header,
    read_raw,
    snake_case,
)
from churn.programs import DataContractError
from churn.splitting import split_column
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from tests.conftest import customer, write_raw

pytestmark = pytest.mark.xdist_group("library")

REJECTED = {
    "no id": ({"customerID": None}, "customer_id is missing"),
    "an empty id": ({"customerID": ""}, "customer_id is missing"),
    "a blank id": ({"customerID": "   "}, "customer_id is missing"),
    "an id with a space around it": ({"customerID": " 0001-GOOD"}, "customer_id is not an id"),
    "half an id": ({"customerID": '-GOOD"'}, "customer_id is not an id"),
    "gender": ({"gender": "Other"}, "gender is unknown"),
    "senior citizen in words": ({"SeniorCitizen": "Yes"}, "senior_citizen is unknown"),
    "partner in lower case": ({"Partner": "yes"}, "partner is unknown"),
    "dependents": ({"Dependents": "3"}, "dependents is unknown"),
    "phone service": ({"PhoneService": "No phone service"}, "phone_service is unknown"),
    "multiple lines": ({"MultipleLines": "Many"}, "multiple_lines is unknown"),
    "internet service": ({"InternetService": "Yes"}, "internet_service is unknown"),
    "online security": ({"OnlineSecurity": "Maybe"}, "online_security is unknown"),
    "online backup": ({"OnlineBackup": "Maybe"}, "online_backup is unknown"),
    "device protection": ({"DeviceProtection": "Maybe"}, "device_protection is unknown"),
    "tech support": ({"TechSupport": "Maybe"}, "tech_support is unknown"),
    "streaming TV": ({"StreamingTV": "Maybe"}, "streaming_tv is unknown"),
    "streaming movies": ({"StreamingMovies": "Maybe"}, "streaming_movies is unknown"),
    "contract": ({"Contract": "Three year"}, "contract is unknown"),
    "paperless billing": ({"PaperlessBilling": "Maybe"}, "paperless_billing is unknown"),
    "payment method": ({"PaymentMethod": "Barter"}, "payment_method is unknown"),
    "a category left out": ({"Contract": None}, "contract is unknown"),
    "a category with a space": ({"Contract": "One year "}, "contract is unknown"),
    "tenure as text": ({"tenure": "two"}, "tenure is not an amount"),
    "a negative tenure": ({"tenure": "-1"}, "tenure is not an amount"),
    "a broken month": ({"tenure": "1.5"}, "tenure is not an amount"),
    "a tenure beyond an integer": ({"tenure": "9999999999"}, "tenure is not an amount"),
    "no tenure": ({"tenure": None}, "tenure is not an amount"),
    "charges as text": ({"MonthlyCharges": "thirty"}, "monthly_charges is not an amount"),
    "negative charges": ({"MonthlyCharges": "-29.85"}, "monthly_charges is not an amount"),
    "charges NaN": ({"MonthlyCharges": "NaN"}, "monthly_charges is not an amount"),
    "infinite charges": ({"MonthlyCharges": "Infinity"}, "monthly_charges is not an amount"),
    "charges inf": ({"MonthlyCharges": "inf"}, "monthly_charges is not an amount"),
    "scientific charges": ({"MonthlyCharges": "1e3"}, "monthly_charges is not an amount"),
    "a hexadecimal amount": ({"MonthlyCharges": "0x1F"}, "monthly_charges is not an amount"),
    "a suffix that Java reads": ({"MonthlyCharges": "29.85d"}, "monthly_charges is not an amount"),
    "a decimal comma": ({"MonthlyCharges": "29,85"}, "monthly_charges is not an amount"),
    "a line separator": ({"MonthlyCharges": "29.85\u2028"}, "monthly_charges is not an amount"),
    "no charges": ({"MonthlyCharges": None}, "monthly_charges is not an amount"),
    "blank charges": ({"MonthlyCharges": " "}, "monthly_charges is not an amount"),
    "a negative total": ({"TotalCharges": "-1"}, "total_charges is not an amount"),
    "a total NaN": ({"TotalCharges": "nan"}, "total_charges is not an amount"),
    "a blank total after two months": ({"TotalCharges": " "}, "total_charges is not an amount"),
    "no total after two months": ({"TotalCharges": None}, "total_charges is not an amount"),
    "an unknown label": ({"Churn": "Maybe"}, "churn is unknown"),
    "no label": ({"Churn": None}, "churn is unknown"),
    "a replaced byte": ({"PaymentMethod": "Mailed ch\ufffdck"}, "not UTF-8"),
    "an id for the first time": ({"customerID": "twice"}, "customer_id is not unique"),
    "an id for the second time": (
        {"customerID": "twice", "gender": "Male"},
        "customer_id is not unique",
    ),
    "a row that could not be split": (
        {"malformed": "7,8", "gender": "?"},
        "wrong number of fields",
    ),
    "two faults: the first counts": ({"gender": "?", "tenure": "?"}, "gender is unknown"),
}

ACCEPTED = {
    "as the file has it": {},
    "a new customer with a blank total": {"tenure": "0", "TotalCharges": " "},
    "a new customer with an empty total": {"tenure": "0", "TotalCharges": ""},
    "a new customer without a total": {"tenure": "0", "TotalCharges": None},
    "a new customer with a total": {"tenure": "0", "TotalCharges": "0"},
    "padded amounts": {"tenure": " 2 ", "MonthlyCharges": " 29.85", "TotalCharges": "59.7 "},
    "whole amounts": {"MonthlyCharges": "30", "TotalCharges": "60."},
    "a free line": {"MonthlyCharges": "0", "TotalCharges": "0.00"},
}


def raw_rows(spark, rows):
    """Return raw customers as ``read_raw`` does; ``malformed`` may be among a row's changes."""
    values = [
        (*(row[c] for c in RAW_COLUMNS), str(list(row.values())), row.get("malformed"))
        for row in rows
    ]
    columns = [*map(snake_case, RAW_COLUMNS), "raw_text", "malformed"]
    return spark.createDataFrame(values, ", ".join(f"{c} STRING" for c in columns)).coalesce(1)


def reasons(spark, cases, **options):
    """Return the reason of each named case, judged together in one job."""
    numbered = [(name, customer(n, **changes)) for n, (name, changes) in enumerate(cases.items())]
    raw = raw_rows(spark, [row for _, row in numbered])
    text_of = {str(list(row.values())): name for name, row in numbered}
    judged = judge(raw, **options).select("raw_text", "reason").collect()
    return {text_of[row["raw_text"]]: row["reason"] for row in judged}


@pytest.fixture(scope="module")
def verdicts(spark):
    """The reason of every rejected and accepted case."""
    return reasons(spark, {name: changes for name, (changes, _) in REJECTED.items()} | ACCEPTED)


@pytest.mark.parametrize("case", REJECTED)
def test_a_row_that_breaks_a_rule_is_rejected_with_the_reason(verdicts, case):
    assert verdicts[case] == REJECTED[case][1]


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_row_that_keeps_the_rules_passes(verdicts, case):
    assert verdicts[case] is None


def test_every_category_and_amount_of_the_contract_has_a_rejected_case():
    tested = {reason for _, reason in REJECTED.values()}
    assert {f"{name} is unknown" for name in CATEGORIES} <= tested
    assert {f"{name} is not an amount" for name in AMOUNTS} <= tested


SCORED = {
    "an unknown category": ({"PaymentMethod": "Barter"}, None),
    "a missing category": ({"PaymentMethod": None}, "payment_method is missing"),
    "a negative tenure": ({"tenure": "-1"}, "tenure is not an amount"),
    "no label": ({"Churn": None}, None),
}


def test_scoring_needs_no_label_and_accepts_an_unknown_category_but_not_a_missing_one(spark):
    cases = {name: changes for name, (changes, _) in SCORED.items()}
    found = reasons(spark, cases, labelled=False, known_categories=False)
    assert found == {name: reason for name, (_, reason) in SCORED.items()}


def test_clean_gives_the_contract_s_types_and_drops_what_was_rejected(spark):
    raw = raw_rows(
        spark,
        [
            customer(1, tenure=" 0 ", TotalCharges=" ", Churn="Yes"),
            customer(2, tenure="72", MonthlyCharges=" 118.75", TotalCharges="8684.8 "),
            customer(3, tenure="-1"),
        ],
    )
    cleaned = clean(judge(raw))
    rows = sorted(tuple(row) for row in cleaned.select(*AMOUNTS, "churn").collect())
    assert rows == [(0, 29.85, 0.0, "yes"), (72, 118.75, 8684.8, "no")]
    types = dict(cleaned.dtypes)
    assert list(types) == ["customer_id", *CATEGORIES, *AMOUNTS, "churn"]
    assert {types[name] for name in [*CATEGORIES, "customer_id", "churn"]} == {"string"}
    assert [types[name] for name in AMOUNTS] == ["int", "double", "double"]
    assert "churn" not in clean(judge(raw, labelled=False), labelled=False).columns


near_amounts = st.text("0123456789.,-+eEdfxNaInity \t\r\n\x85\u2028\u0660", max_size=12)


# An example is a Spark job over many texts: few examples, and no time spent on shrinking them.
@settings(max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate])
@given(st.lists(near_amounts, min_size=200, max_size=300))
def test_whatever_is_written_as_an_amount_is_rejected_or_a_finite_number(spark, texts):
    texts = [*texts, "0", "NaN", "Infinity", "1e400", "12\u2028", "9" * 400]
    rows = [
        customer(n, tenure=text, MonthlyCharges=text, TotalCharges=text)
        for n, text in enumerate(texts)
    ]
    amounts = clean(judge(raw_rows(spark, rows))).select(*AMOUNTS).collect()
    assert amounts
    assert all(value is not None and 0 <= value < 1e13 for row in amounts for value in row)


@pytest.mark.parametrize("percent", [1, 5, 29, 57, 99])
def test_a_share_at_the_limit_is_accepted_and_one_row_more_is_not(percent):
    check_share(100, percent, percent / 100, "customers.csv")
    with pytest.raises(DataContractError, match=r"customers.csv.*--max-quarantined"):
        check_share(100, percent + 1, percent / 100, "customers.csv")


def test_a_file_without_customers_is_refused():
    with pytest.raises(DataContractError, match=r"customers.csv holds no customers"):
        check_share(0, 0, 1.0, "customers.csv")


# The split


def split_by_hand(customer_id: str) -> str:
    """Return the split as anybody can compute it, without Spark."""
    bucket = int(hashlib.md5(f"churnlab:{customer_id}".encode()).hexdigest()[:8], 16) % 100
    return "train" if bucket < 70 else "test" if bucket < 90 else "scoring"


def splits(ids_frame) -> dict[str, str]:
    rows = ids_frame.select("customer_id", split_column().alias("split")).collect()
    return {row["customer_id"]: row["split"] for row in rows}


def test_the_split_of_known_customers_never_changes(spark):
    known = {
        "7590-VHVEG": "train",
        "5575-GNVDE": "train",
        "9237-HQITU": "test",
        "8779-QRDMV": "scoring",
        "Ünïcode-1": "test",
    }
    assert splits(spark.createDataFrame([(i,) for i in known], "customer_id STRING")) == known


def test_the_split_is_a_hash_that_any_tool_can_compute(spark):
    ids = spark.range(500).select(F.format_string("%04d-GOOD", "id").alias("customer_id"))
    assert all(split == split_by_hand(i) for i, split in splits(ids).items())


def test_the_split_ignores_order_and_partitioning(spark):
    ids = spark.range(300).select(F.format_string("%04d-GOOD", "id").alias("customer_id"))
    shuffled = ids.orderBy(F.rand(1)).repartition(5)
    assert splits(shuffled) == splits(ids.coalesce(1))


def test_seventy_twenty_ten(spark):
    ids = spark.range(20_000).select(F.col("id").cast("string").alias("customer_id"))
    sizes = dict(ids.groupBy(split_column()).count().collect())
    shares = {split: size / 20_000 for split, size in sizes.items()}
    assert shares == pytest.approx({"train": 0.7, "test": 0.2, "scoring": 0.1}, abs=0.015)


# Raw files


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("customerID", "customer_id"),
        ("gender", "gender"),
        ("SeniorCitizen", "senior_citizen"),
        ("StreamingTV", "streaming_tv"),
        ("TotalCharges", "total_charges"),
    ],
)
def test_a_raw_column_becomes_snake_case(raw, name):
    assert snake_case(raw) == name


def test_a_folder_of_files_is_read_without_its_hidden_ones(spark, lake):
    path = write_raw(lake, [customer(1), customer(2)])
    path.with_name("more.csv").write_text(path.read_text().replace("-GOOD", "-MORE"))
    path.with_name("_SUCCESS").write_text("")
    (path.parent / "_landings" / "attempt=1").mkdir(parents=True)
    (path.parent / "_landings" / "attempt=1" / "part.csv").write_text("half a file")
    path.with_name(".more.csv.crc").write_text("no customers")
    folder = str(path.parent)
    assert [name.rpartition("/")[2] for name in raw_files(folder)] == ["customers.csv", "more.csv"]
    assert read_raw(spark, folder).count() == 4


def test_files_of_a_folder_that_order_their_columns_differently_are_refused(lake):
    path = write_raw(lake, [customer(1)])
    path.with_name("turned.csv").write_text(",".join(reversed(RAW_COLUMNS)) + "\n")
    with pytest.raises(DataContractError, match="order their columns differently"):
        read_header(str(path.parent), RAW_COLUMNS)


@pytest.mark.parametrize("header", ["{}", "\ufeff{}", "{}\r", '"{}"'])
def test_a_header_is_read_in_any_dress(lake, header):
    path = write_raw(lake, [])
    joint = '","' if header.startswith('"') else ","
    path.write_text(header.format(joint.join(RAW_COLUMNS)) + "\n", encoding="utf-8")
    assert read_header(str(path), RAW_COLUMNS) == list(RAW_COLUMNS)


HEADER = ",".join(RAW_COLUMNS)
OTHER_KINDS = {
    "gzip": (gzip.compress(HEADER.encode()), "it is compressed by gzip. Unpack it"),
    "tabs": (HEADER.replace(",", "\t").encode(), "its columns are separated by tabs"),
    "semicolons": (HEADER.replace(",", ";").encode(), "separated by semicolons"),
    "UTF-16": (HEADER.encode("utf-16"), "it is UTF-16 text"),
    "UTF-16 without a mark": (HEADER.encode("utf-16-le"), "its header holds zero bytes"),
    "Parquet": (b"PAR1 and more", "it is a Parquet file"),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_a_file_of_another_kind_is_named_as_what_it_is(lake, kind):
    content, words = OTHER_KINDS[kind]
    path = write_raw(lake, [])
    path.write_bytes(content)
    with pytest.raises(DataContractError, match=words) as error:
        read_header(str(path), RAW_COLUMNS)
    assert str(path) in str(error.value) and "lacks" not in str(error.value)


def test_a_compressed_file_with_the_right_name_is_read(spark, lake):
    path = write_raw(lake, [customer(1)])
    path.with_name("customers.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert read_raw(spark, str(path.parent)).first()["customer_id"] == "0001-GOOD"


def test_a_header_error_names_the_file_and_every_column_concerned(lake):
    columns = ["Churned" if name == "Churn" else name for name in RAW_COLUMNS] + ["gender"]
    path = write_raw(lake, [], columns)
    with pytest.raises(DataContractError) as error:
        read_header(str(path), RAW_COLUMNS)
    for part in (str(path), "lacks Churn", "repeats gender", "has the unknown 'Churned'"):
        assert part in str(error.value)


def test_raw_text_keeps_a_row_as_csv_that_can_be_read_again(spark, lake):
    odd = customer(1, customerID='"say ""hi"", twice"', MultipleLines='"No, thanks"')
    read = read_raw(spark, str(write_raw(lake, [odd]))).first()
    assert read["customer_id"] == 'say "hi", twice'
    assert read["multiple_lines"] == "No, thanks"
    lake.joinpath("again.csv").write_text(",".join(RAW_COLUMNS) + "\n" + read["raw_text"] + "\n")
    again = read_raw(spark, str(lake / "again.csv")).first()
    assert again == read
