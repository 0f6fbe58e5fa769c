"""A folded cell is named by what its fold says, such as "Show the solution".

MyST-NB labels every fold "Toggle hidden content", and that is what a screen reader would read.
"""

from myst_nb.sphinx_ import HideCodeCellNode, depart_HideCellInput, visit_HideCellInput

LABEL = ' aria-label="Toggle hidden content"'


def visit(translator, node):
    """Write the fold of a cell without the label."""
    start = len(translator.body)
    visit_HideCellInput(translator, node)
    translator.body[start:] = [part.replace(LABEL, "") for part in translator.body[start:]]


def setup(app):
    """Register the extension with Sphinx."""
    app.setup_extension("myst_nb")
    app.add_node(HideCodeCellNode, override=True, html=(visit, depart_HideCellInput))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
