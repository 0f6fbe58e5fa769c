# Generated from notebooks/18-streaming.ipynb by `make export`; do not edit.
"""A stream of arriving customers: what a batch is, how it is scored and written, and how the
stream goes on after it was killed.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache, reduce

from churn.contract import (
    RAW_COLUMNS,
    check_share,
    clean,
    judge,
    read_raw,
    snake_case,
)
from churn.lake import (
    exists,
    join_uri,
    names_below,
    read_text,
    write_text,
)
from churn.programs import DataContractError, StepError
from churn.registry import registered_forest, registered_model
from churn.scoring import predictions_of, summarised
from churn.tables import write_tables
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, Observation, SparkSession, Window
from pyspark.sql import functions as F


def batch_step(number: int) -> str:
    """Return the step under which the rows of a batch stand in the tables."""
    return f"streaming-{number:06d}"


KAFKA = "kafka://"


@dataclass(frozen=True)
class Stream:
    """What the batches of a stream share; ``how`` is the method of reasons and their count."""

    pipeline_id: str
    lake: str
    tables: str
    arrivals: str
    model_version: str
    how: tuple
    limit: float

    @property
    def folder(self) -> str:
        """Return the folder of checkpoint and journal."""
        return join_uri(self.lake, "streams", self.pipeline_id)

    @property
    def checkpoint(self) -> str:
        """Return the folder that belongs to Spark."""
        return join_uri(self.folder, "checkpoint")

    def entry(self, number: int) -> str:
        """Return the place of a batch in the journal."""
        return join_uri(self.folder, "batches", f"{number:06d}.json")


FILE = "path STRING, modificationTime TIMESTAMP, length BIGINT, content BINARY"

AS_OLD_AS = "3650d"  # Spark's default leaves out, without a word, what is a week older than others


def arriving_files(spark: SparkSession, folder: str, per_batch: int) -> DataFrame:
    """Return a stream of the names of files in a folder, the oldest first; none is opened."""
    if not exists(folder):
        raise StepError(f"There is no folder {folder}. Make it, or name another by --arrivals.")
    options = {"maxFilesPerTrigger": per_batch, "maxFileAge": AS_OLD_AS}
    files = spark.readStream.schema(FILE).format("binaryFile").options(**options).load(folder)
    return files.select("path", "modificationTime")


def names_of(batch: DataFrame, folder: str) -> list[str]:
    """Return the names of a batch's files below the folder, the oldest first."""
    rows = sorted(batch.collect(), key=lambda row: (row["modificationTime"], row["path"]))
    paths = [re.sub(r"^file:/+", "/", row["path"]) for row in rows]
    here = re.sub(r"^file:/+", "/", folder)
    return [path.removeprefix(here).lstrip("/") for path in paths]


def begin_batch(stream: Stream, number: int, holds: list[str]) -> None:
    """Note what a batch holds, before anything of it is written.

    Raises StepError if a batch of this number held something else.
    """
    place = stream.entry(number)
    if not exists(place):
        write_text(place, json.dumps({"batch": number, "holds": holds}))
    elif sorted(held := json.loads(read_text(place))["holds"]) != sorted(holds):
        raise StepError(
            f"Batch {number} of the stream {stream.pipeline_id} has held {', '.join(held)}, and "
            f"now it would hold {', '.join(holds) or 'nothing'}: its rows would be replaced. If a "
            "file is gone, put it back. If the checkpoint is not the stream's own, start one under "
            "another key."
        )


def read_files(spark: SparkSession, folder: str, names: list[str]) -> tuple[list, dict[str, str]]:
    """Return raw rows of each file with ``source`` and ``arrival``, and why others are refused."""
    read, refused = [], {}
    for order, name in enumerate(names):
        try:
            rows = read_raw(spark, join_uri(folder, name), labelled=False)
        except DataContractError as error:
            refused[name] = str(error)
        else:
            came = {"source": F.lit(name), "arrival": F.lit(f"{order:06d}")}
            read.append(rows.withColumns(came))
    return read, refused


def counted(judged: DataFrame) -> dict[str, tuple[int, int]]:
    """Return how many rows each source has, and how many of them are bad."""
    counts = judged.groupBy("source").agg(F.count("*"), F.count("reason")).collect()
    return {name: (rows, bad) for name, rows, bad in sorted(counts)}


def broken_files(judged: DataFrame, counts: dict, limit: float) -> dict[str, str]:
    """Return the files with too many bad rows, each with what is wrong."""
    broken = {}
    for name, (rows, bad) in counts.items():
        try:
            check_share(rows, bad, limit, name, judged.where(F.col("source") == name))
        except DataContractError as error:
            broken[name] = str(error)
    return broken


ONE_CUSTOMER = ("source", "arrival", "customer_id")


def last_of_each(good: DataFrame) -> DataFrame:
    """Return of each customer the row that arrived last."""
    latest = Window.partitionBy("customer_id").orderBy(F.desc("arrival"))
    return good.withColumn("place", F.row_number().over(latest)).where("place = 1").drop("place")


@lru_cache(maxsize=2)
def forest_of(lake: str, entry: tuple) -> tuple:
    """Return nodes and columns of a registered model; ``entry`` is its row as pairs."""
    return registered_forest(dict(entry), lake)


def who_answers(stream: Stream) -> tuple[dict, tuple]:
    """Return the registry's row of the model that answers now, and its forest."""
    entry = registered_model(stream.tables, stream.model_version)
    return entry, forest_of(stream.lake, tuple(entry.items()))


def quarantine(spark: SparkSession, judged: DataFrame, refused: dict[str, str]) -> DataFrame:
    """Return what goes to quarantine: bad rows, and one row for each refused file."""
    rows = [(name, f"file refused: {why}", "") for name, why in refused.items()]
    files = spark.createDataFrame(rows, "source STRING, reason STRING, raw_text STRING")
    bad = judged.where("reason IS NOT NULL").select("source", "reason", "raw_text")
    return bad.unionByName(files) if rows else bad


def nobody(spark: SparkSession) -> DataFrame:
    """Return no raw rows, with the columns of raw rows."""
    names = [snake_case(name) for name in RAW_COLUMNS[:-1]]
    names += ["raw_text", "malformed", "source", "arrival"]
    return spark.range(0).select([F.lit("").alias(name) for name in names])


def score_batch(spark: SparkSession, stream: Stream, batch: DataFrame, number: int) -> dict:
    """Score and write one batch of arrivals, and return its facts; a repetition replaces it."""
    holds, read, refused = unpack(spark, stream, batch)
    begin_batch(stream, number, holds)
    raw = reduce(DataFrame.unionByName, read or [nobody(spark)])
    judged = judge(raw, labelled=False, known_categories=False, key=ONE_CUSTOMER).cache()
    counts = counted(judged)
    if not stream.arrivals.startswith(KAFKA):
        refused = refused | broken_files(judged, counts, stream.limit)
    taken = judged.where(~F.col("source").isin(list(refused)))
    entry, model = who_answers(stream)
    good = clean(last_of_each(taken.where("reason IS NULL")), labelled=False)
    summary = Observation("summary")
    answers = predictions_of(spark, good, entry, model, stream.how)
    frames = {"stream_predictions": summarised(answers, summary)}
    frames["quarantined_rows"] = quarantine(spark, taken, refused)
    write_tables(frames, stream.tables, stream.pipeline_id, batch_step(number))
    facts = {"batch": number, "holds": holds, "refused": refused}
    facts |= {"rows": sum(rows for name, (rows, _) in counts.items() if name not in refused)}
    facts |= {"quarantined": sum(bad for name, (_, bad) in counts.items() if name not in refused)}
    facts |= {"model_version": entry["model_version"]} | summary.get
    write_text(stream.entry(number), json.dumps(facts))
    return facts


def arriving_messages(spark: SparkSession, address: str, per_batch: int) -> DataFrame:
    """Return a stream of Kafka's messages; the address is kafka://host:port/topic."""
    servers, _, topic = address.removeprefix(KAFKA).partition("/")
    options = {"kafka.bootstrap.servers": servers, "subscribe": topic}
    options |= {"startingOffsets": "earliest", "maxOffsetsPerTrigger": per_batch}
    return spark.readStream.format("kafka").options(**options).load()


def ranges_of(batch: DataFrame) -> list[str]:
    """Return which messages a batch of Kafka's holds, by topic and partition."""
    ends = batch.groupBy("topic", "partition").agg(F.min("offset"), F.max("offset")).collect()
    return [f"{topic}/{part}: {first} to {last}" for topic, part, first, last in sorted(ends)]


def read_messages(batch: DataFrame) -> DataFrame:
    """Return messages as raw rows, with ``source`` and ``arrival``."""
    columns = [*RAW_COLUMNS[:-1], "malformed"]
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "malformed", "escape": '"'}
    schema = ", ".join(f"`{name}` STRING" for name in columns)
    row = F.from_csv(F.col("value").cast("string"), schema, options).alias("row")
    moment = F.unix_millis("timestamp")
    came = F.format_string("%014d %06d %019d", moment, "partition", "offset").alias("arrival")
    text = F.col("value").cast("string").alias("raw_text")
    rows = batch.select(row, text, came, F.col("topic").alias("source"))
    named = [F.col(f"row.{name}").alias(snake_case(name)) for name in columns]
    return rows.select(*named, "raw_text", "source", "arrival")


def unpack(spark: SparkSession, stream: Stream, batch: DataFrame) -> tuple[list, list, dict]:
    """Return what a batch holds, its raw rows in parts, and the files that are refused."""
    if stream.arrivals.startswith(KAFKA):
        return ranges_of(batch), [read_messages(batch)], {}
    names = names_of(batch, stream.arrivals)
    return names, *read_files(spark, stream.arrivals, names)


def arriving(spark: SparkSession, stream: Stream, per_batch: int) -> DataFrame:
    """Return the stream of what arrives."""
    if per_batch < 1:
        raise StepError(f"--per-batch is {per_batch}, and a batch takes at least 1. Give a number.")
    kind = arriving_messages if stream.arrivals.startswith(KAFKA) else arriving_files
    return kind(spark, stream.arrivals, per_batch)


def run_stream(spark: SparkSession, stream: Stream, per_batch: int, trigger: int = 0) -> tuple:
    """Score batch after batch; return their facts and Spark's progress when nothing is left."""
    taken, failed = [], []

    def take(batch: DataFrame, number: int) -> None:
        try:
            taken.append(score_batch(spark, stream, batch, number))
            for why in taken[-1]["refused"].values():
                print(why, flush=True)
        except Exception as error:
            failed.append(error)
            raise
        finally:
            spark.catalog.clearCache()  # what judge has counted is of no use to the next batch

    check_stream(stream)
    when = {"processingTime": f"{trigger} seconds"} if trigger else {"availableNow": True}
    writer = arriving(spark, stream, per_batch).writeStream.foreachBatch(take).trigger(**when)
    query = writer.option("checkpointLocation", stream.checkpoint).start()
    try:
        remember(stream)
        query.awaitTermination()
    except StreamingQueryException:
        if failed:
            raise failed[-1] from None
        raise
    finally:
        query.stop()
    return taken, query.recentProgress


def identity(stream: Stream) -> str:
    """Return the name that Spark has given to the query of a checkpoint, or "" without one."""
    metadata = join_uri(stream.checkpoint, "metadata")
    return json.loads(read_text(metadata))["id"] if exists(metadata) else ""


def remember(stream: Stream) -> None:
    """Note what belongs to a stream."""
    note = {"arrivals": stream.arrivals, "checkpoint": stream.checkpoint, "id": identity(stream)}
    write_text(join_uri(stream.folder, "stream.json"), json.dumps(note))


def last_number(folder: str, end: str) -> int:
    """Return the last number that a file of a folder is named by, or -1."""
    names = [name.removesuffix(end) for name in names_below(folder) if name.endswith(end)]
    return max((int(name) for name in names if name.isdigit()), default=-1)


def foreign(stream: Stream) -> str:
    """Return why arrivals or checkpoint are not those of a stream, or "" if they are."""
    note = join_uri(stream.folder, "stream.json")
    known, found = json.loads(read_text(note)) if exists(note) else {}, identity(stream)
    if known.get("checkpoint", stream.checkpoint) != stream.checkpoint:
        moved = f"has moved from {known['checkpoint']} to {stream.checkpoint}"
        return f"{moved}. A checkpoint knows files by their full names: all would be new to it"
    if known.get("arrivals", stream.arrivals) != stream.arrivals:
        return f"has read {known['arrivals']}, and now it would read {stream.arrivals}"
    if found and known.get("id") and found != known["id"]:
        return f"has a checkpoint, {stream.checkpoint}, that is that of another stream"
    return ""


def check_stream(stream: Stream) -> None:
    """Raise StepError if a stream can't go on from its checkpoint."""
    planned = last_number(join_uri(stream.checkpoint, "offsets"), "")
    begun = last_number(join_uri(stream.folder, "batches"), ".json")
    what = foreign(stream)
    if not what and begun > planned:
        what = f"has begun batch {begun}, and its checkpoint {stream.checkpoint} knows nothing "
        what += f"after batch {planned}: it is lost, or an old copy"
    if what:
        raise StepError(
            f"The stream {stream.pipeline_id} {what}. Batches would be numbered anew and replace "
            "others' rows. Put back what was there, or start a stream under another --pipeline-id; "
            "it scores all that is there."
        )


def untold(stream: Stream) -> list[dict]:
    """Return finished batches with refused files for which no job has ended with an error."""
    folder = join_uri(stream.folder, "batches")
    place = join_uri(stream.folder, "told.json")
    told = json.loads(read_text(place))["batch"] if exists(place) else -1
    names = [name for name in names_below(folder) if name.endswith(".json")]
    facts = [json.loads(read_text(join_uri(folder, name))) for name in sorted(names)]
    return [done for done in facts if done.get("refused") and done["batch"] > told]


def check_refused(stream: Stream) -> None:
    """Raise DataContractError if files were refused and no job has said so; it says so once."""
    if not (unsaid := untold(stream)):
        return
    refused = [why for facts in unsaid for why in facts["refused"].values()]
    last = max(facts["batch"] for facts in unsaid)
    write_text(join_uri(stream.folder, "told.json"), json.dumps({"batch": last}))
    raise DataContractError(
        f"{len(refused)} files are refused, all others are scored. {' '.join(refused)} "
        "Land a mended file under a new name: a stream reads each name once."
    )
