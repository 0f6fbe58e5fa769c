# Generated from notebooks/14-explain.ipynb by `make export`; do not edit.
"""The contribution of each column to a customer's probability, which add up to it: by Shapley
values, or by the moves along each tree's path.
"""

import numpy as np
from churn.forest import Forest
from churn.programs import StepError


class PathAttribution:
    """What each question on the way to a leaf moved, by column: fast, additive, biased.

    Method: Saabas, 2014, http://blog.datadive.net/interpreting-random-forests/.
    """

    def __init__(self, forest: Forest):
        self.forest = forest
        self.moves = np.zeros((len(forest.rate), len(forest.columns)))
        for level in forest.levels[1:]:
            parent = forest.parent[level]
            self.moves[level] = self.moves[parent]
            nodes, asked = np.arange(level.start, level.stop), forest.feature[parent]
            self.moves[nodes, asked] += forest.rate[level] - forest.rate[parent]

    def contributions(self, x: np.ndarray) -> np.ndarray:
        """Return customers × features: the probability is the base plus a row's sum."""
        total = np.zeros(x.shape)
        for leaf in self.forest.leaves(x):
            total += self.moves[leaf]
        return total / len(self.forest.roots)


def shares_of_columns(forest: Forest) -> tuple[np.ndarray, np.ndarray, int]:
    """Return what is known of the column of the question above each node.

    First the last node further up below a question about the same column, or 0, a root; then the
    share of customers who pass all questions about it so far; last the most columns on one way.
    """
    nodes = len(forest.rate)
    before, share = np.zeros(nodes, int), np.ones(nodes)
    last = np.zeros((nodes, len(forest.columns)), int)
    for level in forest.levels[1:]:
        node, parent = np.arange(level.start, level.stop), forest.parent[level]
        asked = forest.feature[parent]
        last[level] = last[parent]
        before[level] = last[node, asked]
        last[node, asked] = node
        kept = forest.customers[level] / forest.customers[parent]
        share[level] = share[before[level]] * kept
    return before, share, int((last > 0).sum(axis=1).max())


def shapley_tables(
    before: np.ndarray, share: np.ndarray, columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return factor and gain of each node's question, nodes × 3 answers × points.

    The answers: the column was missed further up, is missed here, is met so far. The integral is
    Owen's (1972); Gauss and Legendre's points make it exact for so many columns on a way.
    """
    point, weight = np.polynomial.legendre.leggauss(max(1, (columns + 1) // 2))
    t, weight = (point + 1) / 2, weight / 2
    old, new = share[before][:, None], share[:, None]

    def factor(met: int, share: np.ndarray) -> np.ndarray:
        return t * met + (1 - t) * share

    def gain(met: int, share: np.ndarray) -> np.ndarray:
        return weight * (met - share) / factor(met, share)

    factors = [factor(0, new) / factor(0, old)] + [factor(m, new) / factor(1, old) for m in (0, 1)]
    gains = [np.zeros(factors[0].shape)] + [gain(m, new) - gain(1, old) for m in (0, 1)]
    return np.stack(factors, axis=1), np.stack(gains, axis=1)


ENTRIES = 200_000  # nodes × customers at a time: what the processor's cache holds


class TreeShap:
    """Exact Shapley values of a forest's probability, path-dependent, many customers at once.

    What they are: Lundberg et al., 2020, https://doi.org/10.1038/s42256-019-0138-9.
    """

    def __init__(self, forest: Forest):
        self.forest = forest
        self.before, share, columns = shares_of_columns(forest)
        factors, gains = shapley_tables(self.before, share, columns)
        self.points = factors.shape[-1]
        self.factors = factors.reshape(-1, self.points)
        self.gains = gains.reshape(-1, self.points) / len(forest.roots)
        self.leaf = forest.feature < 0
        below = np.arange(len(forest.roots), len(forest.rate))  # a question leads to them
        asked = forest.feature[forest.parent[below]]
        self.by_column = below[np.argsort(asked, kind="stable")]
        self.asked, self.starts = np.unique(np.sort(asked), return_index=True)

    def contributions(self, x: np.ndarray) -> np.ndarray:
        """Return customers × features: the probability is the base plus a row's sum."""
        total = np.zeros(x.shape)
        rows = max(1, ENTRIES // len(self.forest.rate))
        for start in range(0, len(x) if len(self.asked) else 0, rows):
            part = self.of_few(x[start : start + rows])
            by_column = np.add.reduceat(part[self.by_column], self.starts, axis=0)
            total[start : start + rows, self.asked] = by_column.T
        return total

    def answers(self, x: np.ndarray) -> np.ndarray:
        """Return nodes × customers: the row in ``factors`` and ``gains`` of each answer."""
        forest, nodes = self.forest, np.arange(len(self.forest.rate))
        left = forest.goes_left(x, nodes[:, None])
        here = left[forest.parent] == (forest.left[forest.parent] == nodes)[:, None]
        met, row = np.ones(left.shape, np.int8), np.zeros(left.shape, int)
        for level in forest.levels[1:]:
            above = met[self.before[level]]
            met[level] = above & here[level]
            row[level] = above + met[level]
        return row + 3 * nodes[:, None]

    def of_few(self, x: np.ndarray) -> np.ndarray:
        """Return nodes × customers: what the question above each node contributes."""
        forest, row = self.forest, self.answers(x)
        below = np.ones((*row.shape, self.points))  # first the product of a way's factors
        for level in forest.levels[1:]:
            factors = self.factors.take(row[level], axis=0)
            np.multiply(below.take(forest.parent[level], axis=0), factors, out=below[level])
        below[self.leaf] *= forest.rate[self.leaf][:, None, None]
        for level in reversed(forest.levels[:-1]):  # then the sum over the leaves below
            asked = np.arange(level.start, level.stop)[~self.leaf[level]]
            left, right = forest.left[asked], forest.right[asked]
            below[asked] = below.take(left, axis=0) + below.take(right, axis=0)
        return np.einsum("ncp,ncp->nc", self.gains.take(row, axis=0), below)


METHODS = {"shap": TreeShap, "path": PathAttribution}


def check_method(method: str) -> None:
    """Raise StepError for a method that nobody knows."""
    if method not in METHODS:
        raise StepError(f"There is no method {method!r} of attribution. Use shap or path.")


def explainer(method: str, forest: Forest) -> TreeShap | PathAttribution:
    """Return what attributes a forest's probabilities. Raises StepError as check_method does."""
    check_method(method)
    return METHODS[method](forest)
