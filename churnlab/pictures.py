"""Drawings of what depends on what: pipelines, DAGs, lineage."""

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import matplotlib.pyplot as plt
import networkx as nx
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

# All lengths are inches, and so are the coordinates of the axes.
COLUMN_GAP = 0.45
ROW_GAP = 0.22
PADDING = 0.11
MARGIN = 0.08
TITLE_HEIGHT = 0.4
BOX = {"boxstyle": "round,pad=0,rounding_size=0.06", "facecolor": "#eef2f7", "edgecolor": "#445"}
ARROW = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0, "color": "#556"}


@dataclass
class Box:
    """A node's text and its place; a box without a text is where a long arrow passes."""

    text: str
    width: float = 0.0
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0

    @property
    def left(self) -> tuple[float, float]:
        """The middle of the left edge."""
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> tuple[float, float]:
        """The middle of the right edge."""
        return self.x + self.width / 2, self.y


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
    fig, ax = plt.subplots()
    boxes = {node: Box(_text(labels.get(node, _words(node)), width)) for node in graph}
    for box in boxes.values():
        _measure(box, fig)
    layers, ways = _with_long_ways(graph, boxes)
    size = _place(_ordered(layers, ways), boxes)
    _fit(fig, ax, size, title)
    for box in boxes.values():
        if box.text:
            corner = (box.x - box.width / 2, box.y - box.height / 2)
            ax.add_patch(FancyBboxPatch(corner, box.width, box.height, lw=0.8, **BOX))
            ax.text(box.x, box.y, box.text, ha="center", va="center", fontsize=9)
    for way in ways:
        ax.add_patch(FancyArrowPatch(path=_curve([boxes[node] for node in way]), lw=1, **ARROW))
    return fig


def _measure(box: Box, fig: plt.Figure) -> None:
    """Set the size of a box from its text as it will be drawn."""
    drawn = fig.text(0, 0, box.text, fontsize=9)
    extent = drawn.get_window_extent()
    drawn.remove()
    box.width = extent.width / fig.dpi + 2 * PADDING
    box.height = extent.height / fig.dpi + 2 * PADDING


def _with_long_ways(graph: nx.DiGraph, boxes: dict) -> tuple[list[list], list[list]]:
    """Return the columns and each arrow's way; one past a column keeps a free place in it."""
    layers = _layers(graph)
    column = {node: number for number, layer in enumerate(layers) for node in layer}
    ways = []
    for start, end in graph.edges:
        way = [start]
        for number in range(column[start] + 1, column[end]):
            place = (start, end, number)
            boxes[place] = Box("", height=PADDING)
            layers[number].append(place)
            way.append(place)
        ways.append([*way, end])
    return layers, ways


def _ordered(layers: list[list], ways: list[list]) -> list[list]:
    """Return the columns, each sorted by where its arrows come from, so that fewer cross."""
    befores: dict = {}
    for way in ways:
        for start, end in pairwise(way):
            befores.setdefault(end, []).append(start)
    ordered, height = [], {}
    for layer in layers:
        rank = {}
        for number, node in enumerate(layer):
            known = [height[before] for before in befores.get(node, []) if before in height]
            rank[node] = sum(known) / len(known) if known else number - (len(layer) - 1) / 2
        ordered.append(sorted(layer, key=rank.get))
        height |= {n: i - (len(layer) - 1) / 2 for i, n in enumerate(ordered[-1])}
    return ordered


def _place(layers: list[list], boxes: dict) -> tuple[float, float]:
    """Set the boxes' places, each column in the middle; return width and height of it all."""
    heights = [sum(boxes[n].height + ROW_GAP for n in layer) - ROW_GAP for layer in layers]
    middle, right = MARGIN + max(heights) / 2, MARGIN
    for layer, height in zip(layers, heights, strict=True):
        across = max(boxes[node].width for node in layer)
        top = middle + height / 2
        for node in layer:
            box = boxes[node]
            box.width = box.width or across  # a passing arrow goes straight through its column
            box.x, box.y = right + across / 2, top - box.height / 2
            top -= box.height + ROW_GAP
        right += across + COLUMN_GAP
    return right - COLUMN_GAP + MARGIN, 2 * middle


def _fit(fig: plt.Figure, ax: plt.Axes, size: tuple[float, float], title: str) -> None:
    """Make the axes' unit an inch, with room for the title above."""
    ax.set_title(title, fontsize=11)
    fig.set_size_inches(size[0], size[1] + TITLE_HEIGHT)
    fig.subplots_adjust(0, 0, 1, size[1] / (size[1] + TITLE_HEIGHT))
    ax.set(xlim=(0, size[0]), ylim=(0, size[1]))
    ax.axis("off")


def _curve(way: list[Box]) -> Path:
    """Return the line from the first box's right edge to the last one's left edge."""
    points, codes = [way[0].right], [Path.MOVETO]
    for start, end in pairwise(way):
        (x0, y0), (x1, y1) = start.right, end.left
        half = (x0 + x1) / 2
        points += [(half, y0), (half, y1), (x1, y1), end.right]
        codes += [Path.CURVE4] * 3 + [Path.LINETO]
    return Path(points[:-1], codes[:-1])


def _layers(graph: nx.DiGraph) -> list[list]:
    """Return the nodes by column; what nothing leads to stands right before its first use."""
    column = {
        node: number
        for number, layer in enumerate(nx.topological_generations(graph))
        for node in layer
    }
    for node in graph:
        if not graph.in_degree(node) and graph.out_degree(node):
            column[node] = min(column[after] for after in graph.successors(node)) - 1
    layers: list[list] = [[] for _ in range(max(column.values()) + 1)]
    for node, number in column.items():
        layers[number].append(node)
    return layers


def _words(node: str) -> str:
    return node.replace("-", " ").replace("_", " ")


def _text(label: str, width: int) -> str:
    """Return a label whose lines have at most ``width`` characters, but for long words."""
    lines = (textwrap.wrap(line, width, break_long_words=False) for line in label.split("\n"))
    return "\n".join(part for parts in lines for part in parts)
