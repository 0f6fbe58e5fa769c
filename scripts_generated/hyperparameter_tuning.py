# Generated from notebooks/05-hyperparameter-tuning.ipynb by `make export`; do not edit.
"""Search for a better forest two ways, refit the best, test it once, and register it as a
candidate.
"""

import argparse
import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from churn.features import column_importance, feature_stages, featurise
from churn.folds import (
    check_classes,
    cross_validate,
    fold_column,
    mean_and_spread,
)
from churn.lake import check_lake
from churn.metrics import (
    cheapest_threshold,
    probability_metrics,
    score_bins,
    with_probability,
)
from churn.programs import run_program
from churn.registry import Candidate, data_fingerprint, publish_candidate
from churn.runs import check_pipeline_id, close_run
from churn.tables import (
    dataset_root,
    own_or_newest_run,
    read_table,
    write_table,
)
from pyspark import SparkContext
from pyspark.ml import PipelineModel
from pyspark.ml.classification import RandomForestClassificationModel, RandomForestClassifier
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

FOLDS = 5


def some_trees(model: RandomForestClassificationModel, first: int, last: int):
    """Return the forest of a forest's trees from ``first`` (0 is the first) to before ``last``.

    Spark uses this constructor when it loads a model; from Python it is reached through the JVM.
    """
    context = SparkContext.getOrCreate()
    spark_ml = context._jvm.org.apache.spark.ml.classification
    chosen = list(model._java_obj.trees())[first:last]
    trees = context._gateway.new_array(spark_ml.DecisionTreeClassificationModel, len(chosen))
    for number, tree in enumerate(chosen):
        trees[number] = tree
    return RandomForestClassificationModel(
        spark_ml.RandomForestClassificationModel(
            model.uid, trees, model.numFeatures, model.numClasses
        )
    )


def grid_points(quick: bool) -> list[tuple[int, int]]:
    """Return the (maxDepth, maxBins) points of the grid."""
    return (
        list(itertools.product([3, 6], [32]))
        if quick
        else list(itertools.product([5, 10, 15], [24, 32, 40]))
    )


GRID_TREES = (25, 30, 35)


def judge_sizes(model, held_out: DataFrame) -> pd.DataFrame:
    """Return the score bins of a forest's prefixes, with a column ``numTrees``; one Spark job."""
    answers, judged, before = F.lit(0.0), [], 0
    for count in GRID_TREES:
        part, column = some_trees(model, before, count), f"probability_{count}"
        part.setPredictionCol("").setRawPredictionCol("").setProbabilityCol(column)
        held_out = part.transform(held_out)
        answers = answers + vector_to_array(column)[1] * (count - before)
        of_size = (answers / count).alias("churn_probability"), F.lit(count).alias("numTrees")
        judged.append(F.struct(*of_size))
        before = count
    sizes = held_out.select("label", F.inline(F.array(*judged)))
    return score_bins(sizes, "numTrees").toPandas()


def grid_bins(depth: int, bins: int, fold: int, train: DataFrame, seed: int) -> pd.DataFrame:
    """Fit one forest without a fold; return the score bins of its sizes on the fold.

    The columns ``parameters`` (JSON) and ``fold`` say what was judged.
    """
    forest = RandomForestClassifier(
        numTrees=max(GRID_TREES), maxDepth=depth, maxBins=bins, seed=seed, cacheNodeIds=True
    )
    model = forest.fit(train.where(F.col("fold") != fold))
    judged = judge_sizes(model, train.where(F.col("fold") == fold))
    point = {"maxBins": bins, "maxDepth": depth}
    names = {size: json.dumps(point | {"numTrees": size}) for size in GRID_TREES}
    return judged.assign(parameters=judged["numTrees"].map(names), fold=fold)


def trials_of(bins: pd.DataFrame) -> list[tuple]:
    """Return (parameters, fold, metric, value) of each point and fold of score bins."""
    trials = []
    for (parameters, fold), rows in bins.groupby(["parameters", "fold"]):
        metrics = probability_metrics(rows)
        names = ("roc_auc", "average_precision")
        trials += [(parameters, int(fold), name, metrics[name]) for name in names]
    return trials


SEARCH_ROWS = 50_000


def search_data(train: DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, labels and folds of at most SEARCH_ROWS customers, drawn by a hash."""
    drawn = train.orderBy(F.md5("customer_id")).limit(SEARCH_ROWS)
    frame = drawn.select(vector_to_array("features").alias("x"), "label", "fold").toPandas()
    return (
        np.stack(frame["x"]).astype("float32"),
        frame["label"].to_numpy(),
        frame["fold"].to_numpy(),
    )


def draw_candidates(count: int, seed: int) -> list[dict]:
    """Draw random forests: depth, smallest leaf, share of features, share of rows."""
    rng = np.random.default_rng(seed)
    return [
        {
            "maxDepth": int(rng.integers(4, 15)),
            "minInstancesPerNode": int(rng.choice([1, 2, 5, 10, 20, 40])),
            "featureSubsetStrategy": str(rng.choice(["0.1", "0.2", "0.33", "0.5"])),
            "subsamplingRate": float(rng.choice([0.5, 0.7, 1.0])),
        }
        for _ in range(count)
    ]


def fit_one(parameters: str, fold: int, data: tuple, seed: int) -> tuple[float, float]:
    """Fit one scikit-learn forest without a fold; return ROC AUC and average precision on it."""
    from sklearn.ensemble import RandomForestClassifier as Forest
    from sklearn.metrics import average_precision_score, roc_auc_score

    x, y, folds = data
    point = json.loads(parameters)
    forest = Forest(
        n_estimators=point["numTrees"],
        max_depth=point["maxDepth"],
        min_samples_leaf=point.get("minInstancesPerNode", 1),
        max_features=float(point.get("featureSubsetStrategy", len(x[0]) ** -0.5)),
        max_samples=point.get("subsamplingRate", 1.0),
        random_state=seed,
    ).fit(x[folds != fold], y[folds != fold])
    score = forest.predict_proba(x[folds == fold])[:, 1]
    held_out = y[folds == fold]
    return roc_auc_score(held_out, score), average_precision_score(held_out, score)


def fit_in_tasks(spark: SparkSession, points: list[dict], folds: int, data, seed: int) -> list:
    """Fit every point on every fold, one task each; return (parameters, fold, metric, value)."""
    tasks = [(json.dumps(p, sort_keys=True), fold) for p in points for fold in range(folds)]

    def run(task):
        roc_auc, precision = fit_one(*task, data.value, seed)
        return [(*task, "roc_auc", float(roc_auc)), (*task, "average_precision", float(precision))]

    slices = max(1, len(tasks) // 5)
    return spark.sparkContext.parallelize(tasks, slices).flatMap(run).collect()


ROUNDS = (20, 60, 180)


def successive_halving(
    spark: SparkSession, points: list[dict], rounds: tuple, folds: int, data, seed: int
) -> tuple[dict, list[tuple]]:
    """Return the winner, and all trials, of giving more trees in each round to fewer points."""
    history = []
    for trees in rounds:
        points = [point | {"numTrees": trees} for point in points]
        trials = fit_in_tasks(spark, points, folds, data, seed)
        history += trials
        frame = pd.DataFrame(trials, columns=["parameters", "fold", "metric", "value"])
        precision = frame[frame["metric"] == "average_precision"]
        means = precision.groupby("parameters")["value"].mean().sort_values(ascending=False)
        points = [json.loads(text) for text in means.index[: max(1, len(points) // 3)]]
    return points[0], history


def mean_precision(trials: list[tuple]) -> pd.Series:
    """Return the mean average precision of each point's trials, best first."""
    frame = pd.DataFrame(trials, columns=["parameters", "fold", "metric", "value"])
    chosen = frame[frame["metric"] == "average_precision"]
    return chosen.groupby("parameters")["value"].mean().sort_values(ascending=False)


def boolean(text: str) -> bool:
    """Read the value of a true/false option."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; a missing or wrong option ends it with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--pipeline-id",
        type=str,
        required=True,
        help="key of this run in every table, such as 20261123t051500-3f9c2a",
    )
    parser.add_argument(
        "--lake", type=str, required=True, help="root of the lake: a folder or gs://bucket/path"
    )
    parser.add_argument(
        "--dataset",
        type=str,
        default="churn",
        help="the tables: below the lake's warehouse, or bigquery://project.dataset (default: %(default)s)",
    )
    parser.add_argument(
        "--quick",
        type=boolean,
        default=False,
        help="a small grid and few candidates, to try the step out (default: %(default)s)",
    )
    parser.add_argument(
        "--candidates",
        type=int,
        default=27,
        help="random candidates of the task-parallel search (default: %(default)s)",
    )
    parser.add_argument(
        "--missed-churner-cost",
        type=float,
        default=5.0,
        help="price of losing a churner we did not warn about, in offers (default: %(default)s)",
    )
    parser.add_argument(
        "--offer-cost",
        type=float,
        default=1.0,
        help="price of an offer to a customer (default: %(default)s)",
    )
    parser.add_argument(
        "--partitions",
        type=int,
        default=0,
        help="partitions of the customers; 0: one per 100,000, counted (default: %(default)s)",
    )
    parser.add_argument(
        "--parallelism",
        type=int,
        default=5,
        help="forests fitted at the same time (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=7,
        help="seed of forests and of the random search (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the steps of notebooks/05-hyperparameter-tuning.ipynb."""
    options = parse_arguments(arguments)
    pipeline_id = options.pipeline_id
    lake = options.lake
    dataset = options.dataset
    quick = options.quick
    candidates = options.candidates
    missed_churner_cost = options.missed_churner_cost
    offer_cost = options.offer_cost
    partitions = options.partitions
    parallelism = options.parallelism
    seed = options.seed

    # Two ways to search need a little more than one fit.
    spark = SparkSession.builder.appName("hyperparameter-tuning").getOrCreate()

    # The start is that of the training step: same rows, same features, same order.
    check_pipeline_id(pipeline_id)
    lake = check_lake(lake)
    tables = dataset_root(lake, dataset)
    data_pipeline_id = own_or_newest_run(spark, tables, "training_data", pipeline_id)
    customers = read_table(spark, tables, "training_data", data_pipeline_id)
    features = PipelineModel(feature_stages(spark))
    rows = featurise(features, customers, partitions)

    # Each training customer gets a fold, and the test customers wait. The folds are those of the
    # training step, and a quick search has them too: numbers from other folds, or from forests that
    # saw another share of the customers, could not be compared. A fold without churners could not
    # judge anything, so the step looks for some of both first.
    check_classes(rows, FOLDS)
    train = rows.where("split = 'train'").withColumn("fold", fold_column(0, FOLDS)).cache()
    test = rows.where("split = 'test'")

    # Data-parallel: Spark shares out the rows
    # Spark ML fits one forest with all cores: each level of the trees is a job over all rows. With
    # millions of rows that is the only way. With five thousand, each job has a fixed price that
    # counts for more than the rows, so we fit several forests at a time and let one compute while
    # another waits.
    points = list(itertools.product(grid_points(quick), range(FOLDS)))

    # The longest fits come first, so that none is left to run alone at the end:
    points.sort(reverse=True)
    with ThreadPoolExecutor(parallelism) as pool:
        fitted = pool.map(lambda p: grid_bins(*p[0], p[1], train, seed), points)
        judged_bins = pd.concat(fitted, ignore_index=True)
    grid = trials_of(judged_bins)

    # We draw the candidates and let them compete.
    shared = spark.sparkContext.broadcast(search_data(train))
    drawn = draw_candidates(8 if quick else candidates, seed)
    rounds = ROUNDS[:2] if quick else ROUNDS
    winner, search = successive_halving(spark, drawn, rounds, FOLDS, shared, seed)

    # The best by Spark ML's own folds is our choice:
    winner_forest = RandomForestClassifier(seed=seed, cacheNodeIds=True, **winner)
    confirmed = cross_validate(winner_forest, train, FOLDS, parallelism=parallelism)
    confirmed = confirmed.assign(parameters=json.dumps(winner, sort_keys=True))
    winner_trials = trials_of(confirmed)
    ranked = mean_precision(grid + winner_trials)

    # Whichever is chosen brings its held-out bins along, and with them its metrics and its cheapest
    # threshold. No forest is fitted for that.
    judged = pd.concat([judged_bins, confirmed], ignore_index=True)
    held_out = judged[judged["parameters"] == ranked.index[0]]
    parameters = json.loads(ranked.index[0])
    mean, spread = mean_and_spread(held_out)
    threshold = cheapest_threshold(held_out, missed_churner_cost, offer_cost)

    # Refit
    # The chosen forest learns from all training customers.
    forest = RandomForestClassifier(seed=seed, cacheNodeIds=True, **parameters)
    model = forest.fit(train)

    # The test, once
    # Parameters and threshold have been chosen. Now, and not before, the test is looked at.
    predictions = with_probability(model.transform(test)).cache()
    test_bins = score_bins(predictions).toPandas()

    # The candidate carries its parameters, threshold and evidence:
    candidate = Candidate(
        pipeline_id=pipeline_id,
        step="tuning",
        model=PipelineModel([*features.stages, model]),
        parameters=parameters | {"seed": seed},
        threshold=threshold,
        mean=mean,
        spread=spread,
        importance=column_importance(model.featureImportances.toArray()),
        data_pipeline_id=data_pipeline_id,
        data_fingerprint=data_fingerprint(customers),
    )
    entry = publish_candidate(candidate, predictions, test_bins, lake, tables)

    # All trials are kept too, with the library that fitted them, for no ranking may mix the two.
    # Who asks next year why this forest and not another finds the answer in tuning_trials.
    of_spark_ml = [("grid", "Spark ML", *trial) for trial in grid]
    of_spark_ml += [("winner", "Spark ML", *trial) for trial in winner_trials]
    of_scikit_learn = [("halving", "scikit-learn", *trial) for trial in search]
    write_table(of_spark_ml + of_scikit_learn, tables, "tuning_trials", pipeline_id, "tuning")

    # The last line says what the run took.
    facts = {name: entry[name] for name in ("data_pipeline_id", "roc_auc", "average_precision")}
    facts |= {"model_version": candidate.version}
    print(close_run(spark, "tuning", lake, pipeline_id, **facts), flush=True)

    spark.stop()


if __name__ == "__main__":
    run_program(main)
