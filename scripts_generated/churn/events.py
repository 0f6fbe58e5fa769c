# Generated from notebooks/13-scale.ipynb by `make export`; do not edit.
"""A year of a city's events: invented, but with the columns of a public table, and the same ones
each time.
"""

import math
from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

EVENT = """
    unique_key BIGINT, case_number STRING, date TIMESTAMP, block STRING, iucr STRING,
    primary_type STRING, description STRING, location_description STRING, arrest BOOLEAN,
    domestic BOOLEAN, beat BIGINT, district BIGINT, ward BIGINT, community_area BIGINT,
    fbi_code STRING, x_coordinate DOUBLE, y_coordinate DOUBLE, year BIGINT,
    updated_on TIMESTAMP, latitude DOUBLE, longitude DOUBLE, location STRING
"""

TYPE_FACTS = (
    "primary_type STRING, share DOUBLE, arrest_rate DOUBLE, domestic_rate DOUBLE, rhythm STRING, "
    "iucr STRING, description STRING, fbi_code STRING"
)

TYPES = {
    "THEFT": (0.24, 0.08, 0.03, "day", "0810", "OVER $500", "06"),
    "BATTERY": (0.19, 0.17, 0.48, "night", "0460", "SIMPLE", "08B"),
    "CRIMINAL DAMAGE": (0.12, 0.05, 0.10, "night", "1310", "TO PROPERTY", "14"),
    "MOTOR VEHICLE THEFT": (0.10, 0.04, 0.01, "night", "0910", "AUTOMOBILE", "07"),
    "ASSAULT": (0.10, 0.13, 0.25, "day", "0560", "SIMPLE", "08A"),
    "DECEPTIVE PRACTICE": (0.07, 0.03, 0.02, "day", "1130", "FRAUD OR CONFIDENCE GAME", "11"),
    "OTHER OFFENSE": (0.07, 0.16, 0.35, "day", "2820", "TELEPHONE THREAT", "08A"),
    "ROBBERY": (0.04, 0.08, 0.03, "night", "031A", "ARMED - HANDGUN", "03"),
    "BURGLARY": (0.03, 0.06, 0.04, "day", "0610", "FORCIBLE ENTRY", "05"),
    "WEAPONS VIOLATION": (0.03, 0.62, 0.01, "night", "143A", "UNLAWFUL POSSESSION - HANDGUN", "15"),
    "NARCOTICS": (0.01, 0.97, 0.01, "night", "1811", "POSSESS - CANNABIS 30 GRAMS OR LESS", "18"),
}

HOURS = {
    "day": (3, 2, 1, 1, 1, 2, 4, 7, 9, 10, 12, 14, 16, 15, 14, 15, 17, 18, 15, 11, 8, 6, 5, 4),
    "night": (14, 13, 11, 8, 4, 2, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 6, 7, 9, 11, 13, 15, 16),
}

WEEKDAYS = {"day": (16, 16, 16, 16, 16, 11, 9), "night": (11, 10, 10, 11, 15, 22, 21)}

NUMBERS = (8, 11, 6, 4, 1, 12, 18, 25, 19, 3, 7, 2, 10, 5, 9, 16, 15, 14, 24, 17, 22, 20)

DISTRICTS = {number: 0.9**place for place, number in enumerate(NUMBERS)}

PLACES = {
    "STREET": 30,
    "APARTMENT": 25,
    "RESIDENCE": 18,
    "SIDEWALK": 10,
    "RESTAURANT": 5,
    "GARAGE": 3,
}


def uniform(purpose: str) -> F.Column:
    """Return a number in [0, 1) for each row, made of the column ``id`` and the purpose alone."""
    bins = 2**31 - 1
    return F.pmod(F.xxhash64(F.lit(purpose), F.col("id")), F.lit(bins)) / bins


def choose(weights: dict, purpose: str) -> F.Column:
    """Return for each row one of the keys as text, as often as its weight says, to a thousandth."""
    total = sum(weights.values())
    slots = [
        str(key) for key, weight in weights.items() for _ in range(round(1000 * weight / total))
    ]
    return F.split(F.lit(",".join(slots)), ",")[F.floor(uniform(purpose) * len(slots)).cast("int")]


def in_rhythm(weights: dict[str, tuple], purpose: str) -> F.Column:
    """Return a number from 0 on, drawn with the weights of the row's own rhythm."""
    drawn = {name: choose(dict(enumerate(w)), purpose) for name, w in weights.items()}
    return F.when(F.col("rhythm") == "day", drawn["day"]).otherwise(drawn["night"]).cast("int")


def moment(year: int) -> F.Column:
    """Return a timestamp within the year."""
    epoch = date(1970, 1, 1)
    first, last = (date(year, 1, 1) - epoch).days, (date(year, 12, 31) - epoch).days
    monday = first - date(year, 1, 1).weekday()
    u = uniform("week")
    week = F.floor(53 * (u + 0.2 * F.sin(2 * math.pi * u) / (2 * math.pi)))
    day = monday + 7 * week + in_rhythm(WEEKDAYS, "weekday")
    inside = F.when(day < first, day + 364).when(day > last, day - 364).otherwise(day)
    second = F.floor(3600 * uniform("second"))
    return F.timestamp_seconds(inside * 86400 + in_rhythm(HOURS, "hour") * 3600 + second)


def facts(year: int) -> dict[str, F.Column]:
    """Return the columns that say when, and what came of it."""
    return {
        "unique_key": F.col("id"),
        "case_number": F.format_string("GEN%08d", "id"),
        "date": moment(year),
        "year": F.lit(year),
        "arrest": uniform("arrest") < F.col("arrest_rate"),
        "domestic": uniform("domestic") < F.col("domestic_rate"),
    }


def places() -> dict[str, F.Column]:
    """Return the columns that say where: invented, one neighbourhood for each district."""
    north, east = F.col("district") / 70 + uniform("north") / 40, uniform("east") / 6
    return {
        "block": F.format_string("%03dXX N EXAMPLE ST", F.floor(100 * uniform("block"))),
        "location_description": choose(PLACES, "place"),
        "beat": F.col("district") * 100 + F.floor(1 + 34 * uniform("beat")),
        "ward": F.floor(1 + 50 * uniform("ward")),
        "community_area": F.floor(1 + 77 * uniform("area")),
        "x_coordinate": 1_140_000 + 270_000 * east,
        "y_coordinate": 1_815_000 + 364_000 * north,
        "latitude": 41.65 + north,
        "longitude": -87.80 + east,
        "location": F.format_string("(%.9f, %.9f)", 41.65 + north, -87.80 + east),
    }


def generate_events(spark: SparkSession, rows: int, year: int) -> DataFrame:
    """Return invented events of a year; the same number of rows always gives the same events."""
    types = spark.createDataFrame([(name, *row) for name, row in TYPES.items()], TYPE_FACTS)
    shares = {name: row[0] for name, row in TYPES.items()}
    drawn = spark.range(rows).withColumn("primary_type", choose(shares, "type"))
    district = choose(DISTRICTS, "district").cast("int")
    basis = drawn.join(F.broadcast(types), "primary_type").withColumn("district", district)
    told = basis.withColumns(places()).withColumns(facts(year))
    complete = told.withColumn("updated_on", F.col("date") + F.expr("INTERVAL 7 DAYS"))
    schema = spark.createDataFrame([], EVENT).schema
    return complete.select([F.col(field.name).cast(field.dataType) for field in schema])
