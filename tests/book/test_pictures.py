"""Drawings of graphs: every arrow goes from an edge of a box to an edge of a box, past the others."""

import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from churnlab.pictures import draw_graph

GRAPHS = {
    "a chain": [("raw", "clean"), ("clean", "model")],
    "a fan": [
        ("data", "forest"),
        ("data", "regression"),
        ("forest", "gate"),
        ("regression", "gate"),
    ],
    "an arrow past a column": [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("b", "d")],
    "a late source": [("a", "b"), ("b", "c"), ("outcomes that come later", "c")],
}
TOLERANCE = 0.02  # inches


@pytest.fixture(params=GRAPHS.values(), ids=GRAPHS)
def drawing(request):
    """Boxes and lines of a drawn graph, in inches."""
    ax = draw_graph(request.param, "A title").axes[0]
    boxes = [patch.get_bbox() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    lines = [
        arrow._path_original.interpolated(1).to_polygons(closed_only=False)[0] for arrow in arrows
    ]
    assert len(lines) == len(request.param)
    return boxes, lines


def test_arrows_begin_and_end_at_edges_of_boxes(drawing):
    boxes, lines = drawing
    for line in lines:
        assert any(at(line[0], box.x1, box) for box in boxes), "it begins at a right edge"
        assert any(at(line[-1], box.x0, box) for box in boxes), "it ends at a left edge"


def at(point, x, box):
    """Whether a point is in the middle of the edge of a box at x."""
    return np.allclose(point, (x, (box.y0 + box.y1) / 2), atol=TOLERANCE)


def test_no_arrow_runs_across_a_box(drawing):
    boxes, lines = drawing
    for line in lines:
        for x, y in line:
            assert not any(
                box.x0 + TOLERANCE < x < box.x1 - TOLERANCE
                and box.y0 + TOLERANCE < y < box.y1 - TOLERANCE
                for box in boxes
            )


def test_a_text_is_inside_its_box():
    fig = draw_graph([("a", "b")], "A title", labels={"a": "many words\nin two lines"}, width=40)
    ax = fig.axes[0]
    for patch, text in zip(
        (p for p in ax.patches if isinstance(p, FancyBboxPatch)), ax.texts, strict=True
    ):
        inner = text.get_window_extent().transformed(ax.transData.inverted())
        box = patch.get_bbox()
        assert box.x0 < inner.x0 and inner.x1 < box.x1 and box.y0 < inner.y0 and inner.y1 < box.y1
