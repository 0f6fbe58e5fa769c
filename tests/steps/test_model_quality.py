"""How good the chosen forest is on the real customers, and that the page says so."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.real_data, pytest.mark.xdist_group("quality")]

REPEATS, FOLDS = 5, 5


@pytest.fixture(scope="module")
def evaluations(spark, real_csv):
    """Means over 5×5 folds of the default forest, and its metrics on the test split."""
    import common_utils as cu
    import pandas as pd
    from pyspark.ml import Pipeline
    from pyspark.ml.classification import RandomForestClassifier

    forest = RandomForestClassifier(**default_forest())
    customers = cu.clean(cu.judge(cu.read_raw(spark, str(real_csv))))
    customers = customers.withColumn("split", cu.split_column()).where("split != 'scoring'")
    features = Pipeline(stages=cu.feature_stages(spark)).fit(customers)
    rows = cu.featurise(features, customers)
    repeats = [cu.cross_validate(forest, rows, FOLDS, r) for r in range(1, REPEATS + 1)]
    means = pd.DataFrame([cu.mean_and_spread(bins)[0] for bins in repeats])
    fold_spread = pd.DataFrame([cu.mean_and_spread(bins)[1] for bins in repeats])
    model = forest.fit(rows.where("split = 'train'"))
    tested = cu.with_probability(model.transform(rows.where("split = 'test'")))
    bins = cu.score_bins(tested).toPandas()
    return means.mean(), fold_spread.mean(), cu.probability_metrics(bins), bins


def default_forest() -> dict:
    """The forest that model_training.py fits when it is told nothing."""
    import model_training

    options = model_training.parse_arguments(["--pipeline-id", "x", "--lake", "x"])
    return {
        "numTrees": options.num_trees,
        "maxDepth": options.max_depth,
        "minInstancesPerNode": options.min_instances,
        "featureSubsetStrategy": options.feature_subset,
        "seed": options.seed,
    }


def test_repeated_cross_validation_is_as_good_as_when_the_forest_was_chosen(evaluations):
    means, _, _, _ = evaluations
    assert means["roc_auc"] >= 0.845
    assert means["average_precision"] >= 0.655


def test_the_forest_is_not_suspiciously_good(evaluations):
    means, _, _, _ = evaluations
    assert means["roc_auc"] < 0.86, "too good for this data: look for a leak"


def test_the_test_is_within_two_standard_errors_of_cross_validation(evaluations):
    means, spread, test, bins = evaluations
    # A fold and the test are of similar size, so the spread of folds is the test's standard error.
    fold_size = (bins["customers"].sum() / 0.2) * 0.9 / FOLDS
    scale = (fold_size / bins["customers"].sum()) ** 0.5
    for metric in ("roc_auc", "average_precision"):
        assert abs(test[metric] - means[metric]) <= 2 * spread[metric] * scale
