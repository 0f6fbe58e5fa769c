"""Drawings of what depends on what: pipelines, DAGs, lineage."""

import textwrap
from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import networkx as nx

GAP = 0.4  # inches between two columns
BOX = {"boxstyle": "round,pad=0.45", "facecolor": "#eef2f7", "edgecolor": "#445", "lw": 0.8}


def draw_graph(
    edges: Iterable[tuple[str, str]],
    title: str,
    labels: Mapping[str, str] | None = None,
    width: int = 16,
) -> plt.Figure:
    """Draw a directed graph from left to right, each node a box.

    ``labels`` are the texts of nodes whose name is not the text; ``width`` is the number of
    characters after which a text is broken.
    """
    graph = nx.DiGraph(edges)
    labels = labels or {}
    texts = {node: _text(labels.get(node, _words(node)), width) for node in graph}
    layers = _layers(graph)
    rows = max(map(len, layers))
    lines = max(text.count("\n") + 1 for text in texts.values())
    place, right = {}, 0.0
    for layer in layers:
        column = max(len(line) for node in layer for line in texts[node].split("\n"))
        inches = 0.3 + 0.075 * column
        for row, node in enumerate(layer):
            place[node] = (right + inches / 2, (len(layer) - 1) / 2 - row)
        right += inches + GAP
    fig, ax = plt.subplots(
        figsize=(right - GAP + 0.3, 0.7 + rows * (0.35 + 0.17 * lines)), layout="constrained"
    )
    boxes = {}
    for node, (x, y) in place.items():
        text = ax.text(x, y, texts[node], ha="center", va="center", fontsize=9, bbox=BOX)
        boxes[node] = text.get_bbox_patch()
    for start, end in graph.edges:
        arrow = {"arrowstyle": "-|>", "color": "#556", "shrinkA": 1, "shrinkB": 1, "lw": 1}
        arrow |= {"patchA": boxes[start], "patchB": boxes[end]}
        ax.annotate("", place[end], place[start], arrowprops=arrow)
    ax.set(xlim=(-0.1, right - GAP + 0.1), ylim=(-rows / 2, rows / 2))
    ax.set_title(title, fontsize=11)
    ax.axis("off")
    return fig


def _layers(graph: nx.DiGraph) -> list[list[str]]:
    """Return the nodes by column; what nothing leads to stands right before its first use."""
    column = {
        node: number
        for number, layer in enumerate(nx.topological_generations(graph))
        for node in layer
    }
    for node in graph:
        if not graph.in_degree(node) and graph.out_degree(node):
            column[node] = min(column[after] for after in graph.successors(node)) - 1
    layers: list[list[str]] = [[] for _ in range(max(column.values()) + 1)]
    for node, number in column.items():
        layers[number].append(node)
    return layers


def _words(node: str) -> str:
    return node.replace("-", " ").replace("_", " ")


def _text(label: str, width: int) -> str:
    """Return a label whose lines have at most ``width`` characters, but for long words."""
    lines = (textwrap.wrap(line, width, break_long_words=False) for line in label.split("\n"))
    return "\n".join(part for parts in lines for part in parts)
