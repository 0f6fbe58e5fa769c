"""The notebooks as they are committed."""

import nbformat

from churnlab import paths

NOTEBOOKS = {
    path.stem: nbformat.read(path, as_version=4) for path in sorted(paths.NOTEBOOKS.glob("*.ipynb"))
}
