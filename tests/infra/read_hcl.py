"""Print the .tf files directly in a folder as one JSON object, file by file.

Runs in the environment of the cloud's checks, which has hcl2. Usage: python read_hcl.py FOLDER
"""

import json
import sys
from pathlib import Path

import hcl2


def read_folder(folder: Path) -> dict[str, dict]:
    """Return what hcl2 reads in each file, by name."""
    read = {}
    for path in sorted(folder.glob("*.tf")):
        with path.open(encoding="utf-8") as file:
            read[path.name] = hcl2.load(file)
    return read


if __name__ == "__main__":
    print(json.dumps(read_folder(Path(sys.argv[1]))))
