# Generated from notebooks/13-scale.ipynb by `make export`; do not edit.
"""Customers who never lived, distributed as the real ones are: any number of them, the same on any
number of machines.
"""

import math
import random
from bisect import bisect_left

from churn.contract import RAW_COLUMNS
from churn.programs import StepError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def shuffled(number: str, left_size: int, right_size: int, key: int) -> tuple[F.Column, F.Column]:
    """Return the two parts of a number below left_size · right_size, one-to-one and shuffled."""
    left, right = F.expr(f"{number} div {right_size}"), F.expr(f"{number} % {right_size}")
    for turn in (0, 2):
        shift = F.xxhash64(right, F.lit(key).cast("long"), F.lit(turn))
        left = (left + F.pmod(shift, F.lit(left_size))) % left_size
        shift = F.xxhash64(left, F.lit(key).cast("long"), F.lit(turn + 1))
        right = (right + F.pmod(shift, F.lit(right_size))) % right_size
    return left, right


def dice(seed: int, purpose: str) -> random.Random:
    """Return the random numbers of a seed for one purpose."""
    return random.Random(f"{seed} {purpose}")


ID_DIGITS = 10**4

ID_LETTERS = 26**5


def customer_id(seed: int) -> F.Column:
    """Return ids such as 7590-VHVEG, unique by construction."""
    digits, letters = shuffled("id", ID_DIGITS, ID_LETTERS, dice(seed, "id").getrandbits(62))
    spelled = [F.char(F.floor(letters / 26**place) % 26 + 65) for place in range(5)]
    return F.concat(F.lpad(digits.cast("string"), 4, "0"), F.lit("-"), *spelled)


def mirrored(base: int, size: int, shift: float) -> F.Column:
    """Return a ruler: the digits of ``place`` (below ``size``) mirrored, and a shift."""
    powers = [base**digit for digit in range(math.ceil(math.log(size + 1, base)))]
    terms = [f"((place div {power}) % {base}) / {power * base}D" for power in powers]
    return (F.expr(" + ".join(terms)) + F.lit(shift)) % 1.0


RULERS = {
    "contract": 1, "product": 2, "bill": 3, "leaving": 5, "payment": 7, "person": 11, "total": 13
}  # fmt: skip


def with_rulers(numbers: DataFrame, rows: int, seed: int) -> DataFrame:
    """Add the shuffled ``place`` of each row number ``id``, and the rulers."""
    root = math.isqrt(rows - 1) + 1
    height = min(range(root, 2 * root + 1), key=lambda size: -rows % size)
    width = -(-rows // height)  # height · width is rows, or a little more
    left, right = shuffled("id", height, width, dice(seed, "place").getrandbits(62))
    rulers = {"contract_ruler": (F.col("place") + 0.5) / (height * width)}
    for name, base in RULERS.items():
        if base > 1:
            shift = dice(seed, name).random()
            rulers[f"{name}_ruler"] = mirrored(base, height * width, shift)
    return numbers.withColumn("place", left * width + right).withColumns(rulers)


MONTHS = (
    11, 613, 238, 200, 176, 133, 110, 131, 123, 119, 116, 99, 117, 109, 76, 99, 80, 87, 97, 73, 71,
    63, 90, 85, 94, 79, 79, 72, 57, 72, 72, 65, 69, 64, 65, 88, 50, 65, 59, 56, 64, 70, 65, 65, 51,
    61, 74, 68, 64, 66, 68, 68, 80, 70, 68, 64, 80, 65, 67, 60, 76, 76, 70, 72, 80, 76, 89, 98, 100,
    95, 119, 170, 362,
)  # fmt: skip


def interval(ruler: str, cuts: list[float], first: int = 0) -> str:
    """Return SQL for the number of the interval between sorted cuts that a mark falls into."""
    if not cuts:
        return str(first)
    half = len(cuts) // 2
    below = interval(ruler, cuts[:half], first)
    above = interval(ruler, cuts[half + 1 :], first + half + 1)
    return f"if({ruler} < {cuts[half]!r}D, {below}, {above})"


def look_up(values: list[float], position: str) -> str:
    """Return SQL for the value at a position of a constant list."""
    return f"array({', '.join(f'{float(value)!r}D' for value in values)})[{position}]"


BANDS = (1, 3, 6, 9, 12, 18, 24, 30, 36, 42, 48, 54, 60, 66, 71, 72)  # last month of each


def with_tenure(customers: DataFrame) -> DataFrame:
    """Add ``tenure`` and its ``band``, and use up a part of the contract ruler."""
    shares = [count / sum(MONTHS) for count in MONTHS]
    edges = [sum(MONTHS[:month]) / sum(MONTHS) for month in range(len(MONTHS))]
    tenure = F.expr(interval("contract_ruler", edges[1:]))
    rest = f"(contract_ruler - {look_up(edges, 'tenure')}) / {look_up(shares, 'tenure')}"
    band = look_up([bisect_left(BANDS, month) for month in range(len(MONTHS))], "tenure")
    used = {"contract_ruler": F.expr(rest), "band": F.expr(f"cast({band} AS int)")}
    return customers.withColumn("tenure", tenure).withColumns(used)


ONLINE = "no_internet = 0"

BILLED = "tenure > 0"

DECISIONS = {
    "month_to_month": ("contract", BILLED), "two_year": ("contract", "month_to_month = 0"),
    "no_internet": ("product", "true"), "fiber": ("product", ONLINE),
    "no_phone": ("product", "no_internet + fiber = 0"), "lines": ("product", "no_phone = 0"),
    "tv": ("product", ONLINE), "movies": ("product", ONLINE), "security": ("product", ONLINE),
    "backup": ("product", ONLINE), "protection": ("product", ONLINE),
    "support": ("product", ONLINE),
    "senior": ("person", "true"), "partner": ("person", "true"), "dependents": ("person", "true"),
    "male": ("person", "true"), "paperless": ("payment", "true"), "electronic": ("payment", "true"),
    "mailed": ("payment", "electronic = 0"), "bank": ("payment", "electronic + mailed = 0"),
    "churn": ("leaving", BILLED),
}  # fmt: skip


def grid(text: str) -> dict[str, list[float]]:
    """Read a table of hundredths below a line of headings; a dot is nothing."""
    lines = [line.split() for line in text.strip().splitlines()[1:]]
    return {name: [0.0 if v == "." else int(v) / 100 for v in values] for name, *values in lines}


BY_BAND = grid("""
decision          0    1    2    3    4    5    6    7    8    9   10   11   12   13   14   15
month_to_month  423  317  253  178  132  116   71   46   21  -13  -57  -88 -100 -168 -281 -511
two_year         43 -115  -34  -53  -98  -81  -76 -115  -79  -63  -23  -34    5   37  110  300
no_internet      79   32   36    1   18  -11  -34  -69  -96 -109 -145 -170 -194 -222 -243 -286
fiber          -121 -104 -100  -94  -97  -79  -78  -70  -32  -44  -18    8   17   62   64  106
no_phone       -132 -115 -124 -126 -112 -127 -128 -107 -113  -90  -88  -83 -106 -141 -116 -130
lines          -254 -209 -168 -173 -124 -117 -100  -92  -59  -45  -45  -20  -12   44   50  135
tv             -111  -57  -46  -25  -29  -19   -2   -4   10   27   15   29   34   34   33   78
movies         -101  -67  -45  -30  -14  -26  -20   -6   -7  -20   10   22   -2   19   23   56
security       -139  -84  -47  -15  -24   -1   31   15   38   38   64   65   66   87  109  181
backup         -172 -100  -62 -105  -68  -46  -43   -3   -9   11   42   55   56   95  130  190
protection     -166 -107  -84  -76  -59  -47  -48  -27  -15    6   14  -25   -1   32   18   82
support        -109  -41   -3  -32    4  -11   13   27   27   23    0   13   -6   14   21    6
senior         -278 -277 -277 -263 -295 -260 -253 -231 -231 -254 -219 -224 -205 -198 -177 -157
partner        -142 -114  -78  -55  -61  -38  -15  -17    5   -4   14   20   56   50   95  144
dependents     -161 -218 -169 -180 -174 -170 -170 -176 -174 -192 -199 -206 -229 -216 -235 -237
male              2    2    2    2    2    2    2    2    2    2    2    2    2    2    2    2
paperless       -23  -36  -31  -16   -2  -24    4  -21  -13    5   -2   -7   26   19   15   37
electronic      -94 -110 -115 -133 -123 -136 -157 -162 -153 -146 -168 -177 -141 -187 -186 -223
mailed          158  102   70   57    2   19    7  -32  -42  -57  -75  -97 -102 -119 -179 -248
bank             12  -40  -37   19    6  -24    8   -8   -2   -1    8   17    2   10    7   24
churn           -70 -156 -174 -216 -219 -239 -277 -296 -305 -285 -315 -312 -350 -367 -338 -479
""")

BY_DECISION = grid("""
decision          1   2    3   4   5   6   7   8   9  10  11  12   13  14  15 16  17 18 19 20
month_to_month    .   .    .   .   .   .   .   .   .   .   .   .    .   .   .  .   .  .  .  .
two_year          .   .    .   .   .   .   .   .   .   .   .   .    .   .   .  .   .  .  .  .
no_internet    -185 142    .   .   .   .   .   .   .   .   .   .    .   .   .  .   .  .  .  .
fiber           131 -92    .   .   .   .   .   .   .   .   .   .    .   .   .  .   .  .  .  .
no_phone         37  11    .   .   .   .   .   .   .   .   .   .    .   .   .  .   .  .  .  .
lines            42  21  -84 105   .   .   .   .   .   .   .   .    .   .   .  .   .  .  .  .
tv              -56  45    .  42   .   .   .   .   .   .   .   .    .   .   .  .   .  .  .  .
movies          -44  29    .  18   .   .  75   .   .   .   .   .    .   .   .  .   .  .  .  .
security        -66  52    . -29   .   . -66 -60   .   .   .   .    .   .   .  .   .  .  .  .
backup          -16   .    .  -4   .   .  -9 -21   4   .   .   .    .   .   .  .   .  .  .  .
protection      -61  49    .   .   .   .  57  65  -2   3   .   .    .   .   .  .   .  .  .  .
support         -82 108    . -79   .   .   6   2  19   3   8   .    .   .   .  .   .  .  .  .
senior           60 -45 -110  89  62  35  -1  14 -32   .   1 -48    .   .   .  .   .  .  .  .
partner         -22  17    8  -3  -9   7  11   .  10   4   8 -11   12   .   .  .   .  .  .  .
dependents      -39  22   40 -34  -5 -14   6 -17  19  14  -6   7 -183 248   .  .   .  .  .  .
male              .   .    .   .   .   .   .   .   .   .   .   .    .   .   .  .   .  .  .  .
paperless        46 -28  -88  65   8  19  39  27 -35   8 -16  -6   32  -1 -12  .   .  .  .  .
electronic       57 -58 -126  73  32  14  37  33 -30  -7 -12 -37   26  11 -18  .  27  .  .  .
mailed           -9  24   44 -58 -13 -24 -18 -27  20  -5 -15  17  -42 -15  13  . -25  .  .  .
bank             16  -7   -5   7  -4   .   5   .  -8  -1 -15  -1   -3  15  -7  .  -7  .  .  .
churn            70 -80  -83  95  55  37  31  32 -31 -11   2 -28   23   5 -14  .  35 33 -6  7
""")

BY_PRICE = grid("""
decision          -4  -3  -2  -1    0   1   2   3   4   5   6   7  8 9
tv_dsl           -11   .   .   .  -48 -17   .   .   .   .   .   .  . .
tv_fiber           .   .   .   .    5  37   .   .   .   .   .   .  . .
movies_dsl       -71   .  28   .  -93 -54 -29  -7   .   .   .   .  . .
movies_fiber       .   .   .   .  -42 -24  27  57   .   .   .   .  . .
security_dsl      -7   .  50   .   24  30  62  62 116  74   .   .  . .
security_fiber     .   .   .   .  -45 -57   0  -9  58  24   .   .  . .
backup_dsl         4 -36   8 -13  -17  -6   4  17  13  -1   2   .  . .
backup_fiber       .   .   .   .  -31 -27  -3  -5  24  26  12   .  . .
protection_dsl   -24  -6 -19 -33  -17 -30 -38 -26 -40 -23 -45   9  . .
protection_fiber   .   .   .   .  -14  -9 -25 -19 -42 -50 -42 -13  . .
support_dsl      -28  16 -13 -38  -27 -20 -34   3  22  32  34  20 58 .
support_fiber      .   .   .   . -118 -40 -23   5  11  -7  18  14 60 .
""")

EXTRAS = {
    "no_phone": -4, "lines": 1, "tv": 2, "movies": 2, "security": 1, "backup": 1, "protection": 1,
    "support": 1,
}  # fmt: skip


def price(extras: list[str]) -> str:
    """Return SQL for the list price of extras, in steps of 5 USD."""
    return " + ".join(f"{EXTRAS[name]} * {name}" for name in extras)


def log_odds(decision: str) -> str:
    """Return SQL for a decision's log-odds, given the tenure and the decisions before."""
    terms = [look_up(BY_BAND[decision], "band")]
    for earlier, effect in zip(DECISIONS, BY_DECISION[decision], strict=False):
        if effect:
            terms.append(f"{effect}D * {earlier}")
    if f"{decision}_dsl" in BY_PRICE:
        level = f"4 + {price(list(EXTRAS)[: list(EXTRAS).index(decision)])}"
        fiber, dsl = (look_up(BY_PRICE[f"{decision}_{line}"], level) for line in ("fiber", "dsl"))
        terms.append(f"if(fiber = 1, {fiber}, {dsl})")
    return " + ".join(terms)


def decide(decision: str, mark: str) -> list[str]:
    """Return SQL for the chance of a decision, the decision (0 or 1) and the rest of its mark."""
    chance = f"if({DECISIONS[decision][1]}, 1 / (1 + exp(-({log_odds(decision)}))), 0D)"
    yes, no = (
        f"{mark} / {decision}_chance",
        f"({mark} - {decision}_chance) / (1 - {decision}_chance)",
    )
    return [
        f"{chance} AS {decision}_chance",
        f"cast({mark} < {decision}_chance AS int) AS {decision}",
        f"if({decision} = 1, {yes}, {no}) AS {decision}_rest",
    ]


def with_decisions(customers: DataFrame) -> DataFrame:
    """Add all decisions; each on a ruler starts with the mark that the one before has left."""
    marks = {ruler: f"{ruler}_ruler" for ruler in RULERS}
    for decision, (ruler, _) in DECISIONS.items():
        customers = customers.selectExpr("*", *decide(decision, marks[ruler]))
        marks[ruler] = f"{decision}_rest"
    return customers


BILLS = (
    19.96, 24.96, 29.96, 35.05, 40.03, 44.96, 50.0, 54.96, 60.01, 65.06, 69.98, 74.87, 80.02,
    85.03, 89.99, 94.9, 99.87, 104.97, 109.87, 115.08,
)  # fmt: skip

BILL_NOISE = 0.5  # USD for one service

TOTAL_NOISE = 5.0  # USD for one service and month


def bell(ruler: str) -> F.Column:
    """Return a nearly normal deviate from a ruler (Tukey's lambda with 0.14)."""
    return 4.91 * (F.pow(ruler, F.lit(0.14)) - F.pow(1 - F.col(ruler), F.lit(0.14)))


def in_nickels(amount: F.Column) -> F.Column:
    """Round an amount to 0.05 USD, as the company does."""
    return F.round(amount * 20) / 20


def with_charges(customers: DataFrame) -> DataFrame:
    """Add ``monthly`` and ``total`` charges in USD; total is null before the first bill."""
    extras = " + ".join(name for name in EXTRAS if name != "no_phone")
    services = F.expr(f"2 - no_internet - no_phone + {extras}")
    bill = F.expr(look_up(BILLS, f"5 * (1 - no_internet) + 5 * fiber + {price(list(EXTRAS))}"))
    monthly = in_nickels(bill + BILL_NOISE * F.sqrt("services") * bell("bill_ruler"))
    noise = TOTAL_NOISE * F.sqrt(F.expr("tenure * services")) * bell("total_ruler")
    sum_of_bills = F.greatest(in_nickels(F.expr("tenure * monthly") + noise), F.col("monthly"))
    total = F.when(F.col("tenure") == 1, F.col("monthly")).when(F.col("tenure") > 1, sum_of_bills)
    billed = customers.withColumn("services", services).withColumn("monthly", monthly)
    return billed.withColumn("total", total)


def words(decision: str, without: str = "false", text: str = "") -> F.Column:
    """Return Yes or No, or the text where a condition makes the question idle."""
    return F.expr(f"CASE WHEN {without} THEN '{text}' WHEN {decision} = 1 THEN 'Yes' ELSE 'No' END")


def chosen(options: dict[str, str], otherwise: str) -> F.Column:
    """Return the text of the first decision that was a yes."""
    texts = [F.when(F.col(decision) == 1, text) for decision, text in options.items()]
    return F.coalesce(*texts, F.lit(otherwise))


OFFLINE = ("no_internet = 1", "No internet service")

CONTRACTS = {"month_to_month": "Month-to-month", "two_year": "Two year"}

PAYMENTS = {
    "electronic": "Electronic check",
    "mailed": "Mailed check",
    "bank": "Bank transfer (automatic)",
}


def raw_values(seed: int) -> list[F.Column]:
    """Return the raw columns, in the order of the file, from tenure, decisions and charges."""
    return [
        customer_id(seed), chosen({"male": "Male"}, "Female"), F.col("senior"), words("partner"),
        words("dependents"), F.col("tenure"), chosen({"no_phone": "No"}, "Yes"),
        words("lines", "no_phone = 1", "No phone service"),
        chosen({"no_internet": "No", "fiber": "Fiber optic"}, "DSL"),
        *[words(service, *OFFLINE) for service in ("security", "backup", "protection", "support")],
        *[words(service, *OFFLINE) for service in ("tv", "movies")],
        chosen(CONTRACTS, "One year"), words("paperless"),
        chosen(PAYMENTS, "Credit card (automatic)"),
        F.col("monthly"), F.col("total"), words("churn"),
    ]  # fmt: skip


PART_ROWS = 250_000

LONGEST_COMPILED_METHOD = 8000  # bytes, HotSpot's limit


def generate_customers(
    spark: SparkSession, rows: int, seed: int, part_rows: int = PART_ROWS
) -> DataFrame:
    """Return generated customers with the columns of the raw file; sets the session's method limit.

    They depend on ``rows`` and ``seed`` alone. Raises StepError for an impossible number of rows.
    """
    if not 0 < rows <= ID_DIGITS * ID_LETTERS:
        raise StepError(f"--rows {rows}: it has to be from 1 to {ID_DIGITS * ID_LETTERS}.")
    spark.conf.set("spark.sql.codegen.hugeMethodLimit", LONGEST_COMPILED_METHOD)
    numbers = spark.range(0, rows, 1, -(-rows // part_rows))
    customers = with_charges(with_decisions(with_tenure(with_rulers(numbers, rows, seed))))
    customers = customers.sample(1.0)  # keeps every row, and filters out of the chain below
    return customers.select(raw_values(seed)).toDF(*RAW_COLUMNS)
