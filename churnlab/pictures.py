"""Drawings of what depends on what: pipelines, DAGs, lineage."""

import textwrap
from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import networkx as nx

COLOURS = {
    "": "#eef2f7",
    "SUCCEEDED": "#cfe8cf",
    "FAILED": "#f4c7c3",
    "SKIPPED": "#eeeeee",
    "CANCELLED": "#fbe3bd",
    "RUNNING": "#cfe0f5",
}


def draw_graph(
    edges: Iterable[tuple[str, str]],
    title: str,
    states: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    width: int = 16,
) -> plt.Figure:
    """Draw a directed graph from left to right, each node a box in the colour of its state.

    ``states`` are keys of COLOURS, ``labels`` the texts of nodes whose name is not the text;
    ``width`` is the number of characters after which a text is broken.
    """
    graph = nx.DiGraph(edges)
    states, labels = states or {}, labels or {}
    layers = list(nx.topological_generations(graph))
    place = {
        node: (column, (len(layer) - 1) / 2 - row)
        for column, layer in enumerate(layers)
        for row, node in enumerate(layer)
    }
    tallest = max(map(len, layers))
    size = (max(7.0, 1.45 * len(layers)), 1.0 + 0.95 * tallest)
    fig, ax = plt.subplots(figsize=size, layout="constrained")
    for start, end in graph.edges:
        arrow = {"arrowstyle": "-|>", "color": "#667", "shrinkA": 34, "shrinkB": 34, "lw": 1}
        ax.annotate("", place[end], place[start], arrowprops=arrow)
    for node, (x, y) in place.items():
        text = labels.get(node, node.replace("-", " ").replace("_", " "))
        lines = [textwrap.fill(line, width) for line in text.split("\n")]
        colour = COLOURS[states.get(node, "")]
        box = {"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": "#445", "lw": 0.8}
        ax.text(x, y, "\n".join(lines), ha="center", va="center", fontsize=8, bbox=box)
    ax.set(xlim=(-0.6, len(layers) - 0.4), ylim=(-tallest / 2 - 0.1, tallest / 2 + 0.1))
    ax.set_title(title, fontsize=11)
    ax.axis("off")
    return fig
