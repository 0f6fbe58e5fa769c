"""The course's lab as most tutorials write it: the slow side of the benchmarks.

Schemas are inferred. After every step rows are counted and some are shown. Indexing and encoding
stand in the pipeline that is cross-validated, models are fitted one after the other, evaluators are
asked one metric after the other. Predictions are collected to the driver, and tables are plain
Parquet that overwrites what was there. Nothing is slow on purpose:
every habit here is a common one.

It does the same job as the course's scripts, with the same split of the customers, so that results
can be compared. What the course adds it does without: the quarantine with reasons, five-fold
metrics of the training step, a threshold by cost, curves in tables, a registry.

`make bench` runs it on PySpark's own defaults, or by `--same-settings` on the course's settings.
By hand:

    spark-submit --master 'local[*]' benchmarks/straightforward.py preprocessing --folder FOLDER

FOLDER holds the raw customers in raw/customers; tables and models are written beside them.
"""

import argparse

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.evaluation import BinaryClassificationEvaluator, MulticlassClassificationEvaluator
from pyspark.ml.feature import OneHotEncoder, StringIndexer, VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

CATEGORIES = [
    "gender",
    "SeniorCitizen",
    "Partner",
    "Dependents",
    "PhoneService",
    "MultipleLines",
    "InternetService",
    "OnlineSecurity",
    "OnlineBackup",
    "DeviceProtection",
    "TechSupport",
    "StreamingTV",
    "StreamingMovies",
    "Contract",
    "PaperlessBilling",
    "PaymentMethod",
]
AMOUNTS = ["tenure", "MonthlyCharges", "TotalCharges"]
SEED = 7


def look_at(name: str, rows: DataFrame) -> int:
    """Print the schema, the number of rows and the first five; return the number."""
    count = rows.count()
    print(f"{name}: {count} rows")
    rows.printSchema()
    rows.show(5)
    return count


def save(rows: DataFrame, folder: str, name: str) -> None:
    """Write a table, in place of what was there, and look at what was written."""
    path = f"{folder}/tables/{name}"
    rows.write.mode("overwrite").parquet(path)
    look_at(name, rows.sparkSession.read.parquet(path))


def clean(customers: DataFrame) -> DataFrame:
    """Return the customers with their types; a blank total is 0, for nobody has paid yet."""
    written = F.coalesce(F.trim("TotalCharges"), F.lit(""))
    total = F.when(written == "", "0").otherwise(written).cast("double")
    return customers.withColumn("TotalCharges", total).withColumn(
        "SeniorCitizen", F.col("SeniorCitizen").cast("string")
    )


def with_split(customers: DataFrame) -> DataFrame:
    """Add the course's split: train 70 %, test 20 %, scoring 10 %, by a hash of the id."""
    digest = F.md5(F.concat(F.lit("churnlab:"), "customerID"))
    bucket = F.conv(F.substring(digest, 1, 8), 16, 10).cast("long") % 100
    split = F.when(bucket < 70, "train").when(bucket < 90, "test").otherwise("scoring")
    return customers.withColumn("split", split)


def preprocessing(spark: SparkSession, folder: str) -> dict:
    """Clean and split the raw customers; return the number of rows of each split."""
    raw = spark.read.csv(f"{folder}/raw/customers", header=True, inferSchema=True)
    look_at("raw customers", raw)
    raw.select([F.count_if(F.col(name).isNull()).alias(name) for name in raw.columns]).show()
    unique = raw.dropDuplicates(["customerID"])
    look_at("without duplicates", unique)
    cleaned = clean(unique)
    look_at("cleaned", cleaned)
    customers = cleaned.dropna()
    look_at("without gaps", customers)
    customers.describe(*AMOUNTS).show()
    customers.groupBy("Churn").count().show()
    rejected = raw.join(customers, "customerID", "left_anti")
    customers = with_split(customers)
    sizes = {row["split"]: row["count"] for row in customers.groupBy("split").count().collect()}
    print(sizes)
    future = customers.where("split = 'scoring'")
    save(customers.where("split != 'scoring'"), folder, "training_data")
    save(future.drop("Churn", "split"), folder, "scoring_input")
    save(future.select("customerID", "Churn"), folder, "scoring_outcomes")
    save(rejected, folder, "rejected_rows")
    return sizes


def read_labelled(spark: SparkSession, folder: str) -> tuple[DataFrame, DataFrame]:
    """Return the training and the test customers with their label, 1 for churners."""
    customers = spark.read.parquet(f"{folder}/tables/training_data")
    look_at("labelled customers", customers)
    labelled = customers.withColumn("label", (F.col("Churn") == "Yes").cast("double"))
    train, test = labelled.where("split = 'train'"), labelled.where("split = 'test'")
    look_at("training customers", train)
    look_at("test customers", test)
    return train, test


def build_pipeline(forest: RandomForestClassifier) -> Pipeline:
    """Return the stages from a cleaned customer to a prediction."""
    indexers = [
        StringIndexer(inputCol=name, outputCol=f"{name}_index", handleInvalid="keep")
        for name in CATEGORIES
    ]
    encoder = OneHotEncoder(
        inputCols=[f"{name}_index" for name in CATEGORIES],
        outputCols=[f"{name}_onehot" for name in CATEGORIES],
        dropLast=False,
    )
    assembler = VectorAssembler(
        inputCols=[*encoder.getOutputCols(), *AMOUNTS], outputCol="features"
    )
    return Pipeline(stages=[*indexers, encoder, assembler, forest])


def evaluate(predictions: DataFrame) -> dict[str, float]:
    """Return the metrics of Spark's evaluators, one after the other."""
    metrics = {
        name: BinaryClassificationEvaluator(metricName=name).evaluate(predictions)
        for name in ("areaUnderROC", "areaUnderPR")
    }
    for name in ("accuracy", "f1", "weightedPrecision", "weightedRecall"):
        metrics[name] = MulticlassClassificationEvaluator(metricName=name).evaluate(predictions)
    print(metrics)
    return metrics


def collect_scores(predictions: DataFrame) -> list[tuple[float, float]]:
    """Collect (probability, label) of all customers to the driver, most probable churners first."""
    scores = predictions.select(vector_to_array("probability")[1], "label").collect()
    return sorted(((row[0], row[1]) for row in scores), reverse=True)


def roc_points(scores: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (false positive rate, true positive rate) of the ROC curve."""
    churners = sum(label for _, label in scores)
    others = len(scores) - churners
    points, found, wrong = [], 0.0, 0.0
    for _, label in scores:
        found, wrong = found + label, wrong + 1 - label
        points.append((wrong / others, found / churners))
    return points


def churners_by_tenth(scores: list[tuple[float, float]]) -> list[float]:
    """Return the churn rate of each tenth of the customers, the most probable churners first."""
    size = max(1, len(scores) // 10)
    tenths = [scores[start : start + size] for start in range(0, len(scores), size)]
    return [sum(label for _, label in tenth) / len(tenth) for tenth in tenths]


def column_importance(model: PipelineModel, predictions: DataFrame) -> list[tuple[str, float]]:
    """Return the importance of each column, folded back from the indicators, largest first."""
    columns = feature_columns(predictions)
    folded = dict.fromkeys(columns, 0.0)
    for column, value in zip(columns, model.stages[-1].featureImportances.toArray(), strict=True):
        folded[column] += float(value)
    return sorted(folded.items(), key=lambda item: -item[1])


def feature_columns(rows: DataFrame) -> list[str]:
    """Return the original column behind each position of the vector ``features``."""
    kinds = rows.schema["features"].metadata["ml_attr"]["attrs"].values()
    attributes = sorted((entry for kind in kinds for entry in kind), key=lambda a: a["idx"])
    return [attribute["name"].partition("_onehot")[0] for attribute in attributes]


def judge_and_save(model: PipelineModel, test: DataFrame, folder: str, name: str) -> dict:
    """Judge a model by the test, save it with predictions and metrics, and return the metrics."""
    spark = test.sparkSession
    predictions = model.transform(test)
    look_at("predictions", predictions)
    metrics = evaluate(predictions)
    predictions.groupBy("label", "prediction").count().orderBy("label", "prediction").show()
    importance = column_importance(model, predictions)
    print(importance[:5])
    print(len(roc_points(collect_scores(predictions))), "points of the ROC curve")
    print("churn rate by tenth:", churners_by_tenth(collect_scores(predictions)))
    probability = vector_to_array("probability")[1].alias("probability")
    tested = predictions.select("customerID", probability, "prediction", "label")
    save(tested, folder, f"{name}_test_predictions")
    save(
        spark.createDataFrame(list(metrics.items()), ["metric", "value"]), folder, f"{name}_metrics"
    )
    save(spark.createDataFrame(importance, ["column", "importance"]), folder, f"{name}_importance")
    model.write().overwrite().save(f"{folder}/models/{name}")
    return metrics


def training(spark: SparkSession, folder: str, trees: int) -> dict:
    """Fit the forest that the course fits by default, and test it; return the metrics."""
    train, test = read_labelled(spark, folder)
    forest = RandomForestClassifier(
        numTrees=trees,
        maxDepth=8,
        minInstancesPerNode=10,
        featureSubsetStrategy="onethird",
        seed=SEED,
    )
    model = build_pipeline(forest).fit(train)
    return judge_and_save(model, test, folder, "training")


def tuning(spark: SparkSession, folder: str, grid: dict[str, list[int]], folds: int) -> dict:
    """Search the grid by Spark's CrossValidator, and test the best; return its metrics."""
    train, test = read_labelled(spark, folder)
    forest = RandomForestClassifier(seed=SEED)
    points = ParamGridBuilder()
    for name, values in grid.items():
        points.addGrid(forest.getParam(name), values)
    search = CrossValidator(
        estimator=build_pipeline(forest),
        estimatorParamMaps=points.build(),
        evaluator=BinaryClassificationEvaluator(metricName="areaUnderPR"),
        numFolds=folds,
        seed=SEED,
    )
    found = search.fit(train)
    print("mean areaUnderPR of each point:", found.avgMetrics)
    best = found.bestModel.stages[-1]
    chosen = {name: best.getOrDefault(name) for name in grid}
    return judge_and_save(found.bestModel, test, folder, "tuning") | {"chosen": chosen}


def forest_nodes(spark: SparkSession, model: str) -> dict[int, dict[int, tuple]]:
    """Return each tree of a saved forest: node → (feature, split, left, right, churn rate)."""
    data = spark.read.parquet(f"{model}/stages/*RandomForest*/data")
    trees: dict[int, dict[int, tuple]] = {}
    for row in data.collect():
        node = row["nodeData"]
        stayed, left = node["impurityStats"]
        split = (node["split"]["numCategories"], node["split"]["leftCategoriesOrThreshold"])
        entry = (node["split"]["featureIndex"], split, node["leftChild"], node["rightChild"])
        trees.setdefault(row["treeID"], {})[node["id"]] = (*entry, left / (stayed + left))
    return trees


def contributions(trees: dict, columns: list[str], values: list[float]) -> dict[str, float]:
    """Return what each column moves the probability of one customer by, along its paths."""
    moved = dict.fromkeys(columns, 0.0)
    for nodes in trees.values():
        feature, (categories, split), left, right, rate = nodes[0]
        while feature >= 0:
            value = values[feature]
            goes_left = value in split if categories > 0 else value <= split[0]
            column, before = columns[feature], rate
            feature, (categories, split), left, right, rate = nodes[left if goes_left else right]
            moved[column] += (rate - before) / len(trees)
    return moved


def scoring(spark: SparkSession, folder: str) -> dict:
    """Score the waiting customers and give three reasons for each; return what was scored."""
    customers = spark.read.parquet(f"{folder}/tables/scoring_input")
    look_at("waiting customers", customers)
    path = f"{folder}/models/training"
    model = PipelineModel.load(path)
    scored = model.transform(customers)
    look_at("scored customers", scored)
    scored.groupBy("prediction").count().show()
    probabilities = scored.select(vector_to_array("probability")[1]).collect()
    mean = sum(row[0] for row in probabilities) / len(probabilities)
    print(f"mean probability {mean:.3f}")

    trees = spark.sparkContext.broadcast(forest_nodes(spark, path))
    columns = feature_columns(scored)

    @F.udf("array<struct<feature: string, contribution: double>>")
    def three_reasons(features):
        moved = contributions(trees.value, columns, features.toArray().tolist())
        return sorted(moved.items(), key=lambda item: -abs(item[1]))[:3]

    explained = scored.select("customerID", three_reasons("features").alias("reasons"))
    look_at("explained customers", explained)
    probability = vector_to_array("probability")[1].alias("probability")
    predictions = scored.select("customerID", probability, "prediction")
    save(predictions.join(explained, "customerID"), folder, "batch_predictions")
    return {"customers": len(probabilities), "mean_probability": mean}


def numbers(text: str) -> list[int]:
    """Read whole numbers that commas separate."""
    return [int(number) for number in text.split(",")]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("step", choices=["preprocessing", "training", "tuning", "scoring"])
    parser.add_argument("--folder", required=True, help="where raw/customers is")
    parser.add_argument("--trees", type=int, default=100, help="trees of the training step")
    parser.add_argument("--depths", type=numbers, default=[5, 10, 15], help="maxDepth of the grid")
    parser.add_argument("--bins", type=numbers, default=[24, 32, 40], help="maxBins of the grid")
    parser.add_argument("--sizes", type=numbers, default=[25, 30, 35], help="numTrees of the grid")
    parser.add_argument("--folds", type=int, default=5, help="folds of the cross-validation")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> dict:
    """Run one step and return what it found."""
    options = parse_arguments(arguments)
    spark = SparkSession.builder.appName(f"straightforward-{options.step}").getOrCreate()
    if options.step == "preprocessing":
        facts = preprocessing(spark, options.folder)
    elif options.step == "training":
        facts = training(spark, options.folder, options.trees)
    elif options.step == "tuning":
        grid = {"maxDepth": options.depths, "maxBins": options.bins, "numTrees": options.sizes}
        facts = tuning(spark, options.folder, grid, options.folds)
    else:
        facts = scoring(spark, options.folder)
    spark.stop()
    return facts


if __name__ == "__main__":
    main()
