"""A short program that makes Spark load the classes that the course's steps load.

`churnlab.run.class_archive` runs it once, by spark-submit, in a Java that then writes those classes
into its archive. It needs no data: it makes a few rows and treats them as the steps do theirs.
A class that it does not load costs a start a little time, nothing else.
"""

import sys
from pathlib import Path

import pandas as pd
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression, RandomForestClassifier
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.feature import OneHotEncoder, StringIndexer, VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

ROWS = 200


def rows_of(spark: SparkSession) -> DataFrame:
    """Return made-up rows of the types that the lake holds."""
    number = F.col("id")
    return spark.range(ROWS).select(
        F.format_string("%04d", number).alias("customer"),
        F.when(number % 3 == 0, "monthly").otherwise("yearly").alias("contract"),
        (F.sin(number) * 40 + 60).alias("charges"),
        (number % 72).cast("int").alias("tenure"),
        F.when(number % 3 == 0, 1.0).otherwise(0.0).alias("label"),
        F.timestamp_seconds(number).alias("at"),
    )


def tour_of_files(spark: SparkSession, folder: Path) -> DataFrame:
    """Write and read CSV, Parquet and JSON, and return the rows as read by a schema."""
    csv, parquet, json = (str(folder / kind) for kind in ("csv", "parquet", "json"))
    rows_of(spark).write.csv(csv, header=True)
    schema = "customer STRING, contract STRING, charges STRING, tenure INT, label DOUBLE"
    options = {"header": True, "columnNameOfCorruptRecord": "broken", "quote": '"'}
    read = spark.read.options(**options).csv(csv, f"{schema}, at TIMESTAMP, broken STRING").cache()
    read.select("customer", "broken").where("broken IS NOT NULL").count()
    typed = read.withColumn("charges", F.expr("try_cast(trim(charges) AS DOUBLE)")).drop("broken")
    typed = typed.withColumn("part", F.pmod(F.xxhash64("customer"), F.lit(2)))
    typed.write.partitionBy("part").mode("overwrite").parquet(parquet)
    typed.select(F.to_csv(F.struct("customer", "label")).alias("text")).write.text(f"{folder}/text")
    spark.read.parquet(parquet).limit(20).coalesce(1).write.json(json)
    spark.read.json(json).count()
    return spark.read.parquet(parquet)


def tour_of_queries(spark: SparkSession, rows: DataFrame) -> None:
    """Aggregate, join, sort and rank, by functions and by SQL, from Python's rows and back."""
    latest = Window.partitionBy("contract").orderBy(F.desc("at"), "customer")
    ranked = rows.withColumn("rank", F.row_number().over(latest)).where("rank < 20")
    totals = rows.groupBy("contract").agg(
        F.count("*").alias("rows"),
        F.count_if(F.col("label") > 0).alias("churners"),
        F.countDistinct("tenure").alias("tenures"),
        F.avg("charges").alias("mean"),
        F.stddev("charges").alias("spread"),
        F.max("at").alias("latest"),
        F.collect_list(F.struct("customer", "charges")).alias("who"),
    )
    ranked.join(F.broadcast(totals), "contract").orderBy("customer").toPandas()
    ranked.hint("merge").join(rows.select("customer", "tenure"), "customer", "left").collect()
    rows.createOrReplaceTempView("customers")
    query = "SELECT contract, percentile_approx(charges, 0.5) FROM customers GROUP BY ALL"
    spark.sql(query).show()
    rows.union(rows).distinct().repartition(2, "contract").sample(0.5, seed=1).explain()
    rows.approxQuantile("charges", [0.5], 0.1)
    spark.createDataFrame([("a", 1.0, {"b": 1})], "name STRING, value DOUBLE, m MAP<STRING, INT>")
    spark.createDataFrame([("a", 1.0)], "name STRING, value DOUBLE").first()
    spark.createDataFrame(pd.DataFrame({"name": ["a"], "value": [1.0]})).isEmpty()
    spark.sparkContext.parallelize([1, 2]).map(lambda value: value + 1).collect()


def tour_of_python(spark: SparkSession, rows: DataFrame) -> None:
    """Send rows to Python and back, as pandas frames."""
    factor = spark.sparkContext.broadcast(2.0)

    def double(frames):
        for frame in frames:
            yield frame.assign(charges=frame["charges"] * factor.value)

    rows.select("customer", "charges").mapInPandas(
        double, "customer STRING, charges DOUBLE"
    ).count()
    longer = F.pandas_udf(lambda values: values + 1, "double")
    rows.select(longer("charges").alias("charges")).agg(F.sum("charges")).first()


def tour_of_models(rows: DataFrame, folder: Path) -> None:
    """Fit, save, load and use a forest and a logistic regression."""
    stages = [
        StringIndexer(inputCols=["contract"], outputCols=["index"], handleInvalid="keep"),
        OneHotEncoder(inputCols=["index"], outputCols=["indicators"]),
        VectorAssembler(inputCols=["index", "charges", "tenure"], outputCol="features"),
    ]
    features = Pipeline(stages=stages).fit(rows)
    vectors = features.transform(rows).coalesce(1).cache()
    forest = RandomForestClassifier(numTrees=3, maxDepth=3, seed=1).fit(vectors)
    LogisticRegression(maxIter=2, featuresCol="indicators").fit(vectors).summary.areaUnderROC  # noqa: B018
    PipelineModel([*features.stages, forest]).write().overwrite().save(str(folder / "model"))
    scored = PipelineModel.load(str(folder / "model")).transform(rows)
    scored.select("customer", vector_to_array("probability")[1].alias("p")).toPandas()
    BinaryClassificationEvaluator().evaluate(scored)
    forest.featureImportances.toArray()


def main(folder: str) -> None:
    """Take the whole tour; files go below a folder that is empty."""
    spark = SparkSession.builder.getOrCreate()
    rows = tour_of_files(spark, Path(folder))
    tour_of_queries(spark, rows)
    tour_of_python(spark, rows)
    tour_of_models(rows, Path(folder))
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1])
