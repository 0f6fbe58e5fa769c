"""The parameters of a notebook: what its cell declares, and how their values are read from text."""

import ast
import io
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass

from churnlab.errors import CourseError

TYPES = {"str": str, "int": int, "float": float, "bool": bool}
BOOLEANS = {"true": True, "false": False}
WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}
EXAMPLES = {"int": "7", "float": "0.5", "bool": "true"}


class ExportError(CourseError):
    """A notebook breaks a rule of the export; names the notebook, the cell and the mend."""


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell: ``name: type = default  # help``."""

    name: str
    type: str
    default: str | int | float | bool
    help: str

    @property
    def required(self) -> bool:
        """The notebook finds an empty string's value itself; a script has to be told."""
        return self.default == "" and self.type == "str"


def read_parameters(source: str, where: str = "parameters cell") -> list[Parameter]:
    """Parse the source of a parameters cell.

    Raises ExportError for anything but ``name: type = literal  # help`` lines.
    """
    comments = {
        token.start[0]: token.string.lstrip("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    parameters = []
    for node in ast.parse(source).body:
        line = f"{where}, line {node.lineno}"
        if not (
            isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
        ):
            raise ExportError(f"{line}: not a parameter.", "Write `name: type = literal  # help`.")
        name, type_name = node.target.id, ast.unparse(node.annotation)
        if type_name not in TYPES:
            raise ExportError(
                f"{line}: {name} has the type {type_name}.", f"Use one of {', '.join(TYPES)}."
            )
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            raise ExportError(
                f"{line}: the default of {name} is computed.", "Write a literal; compute below."
            ) from None
        if type(default) is int and type_name == "float":
            default = float(default)
        if type(default) is not TYPES[type_name]:
            raise ExportError(
                f"{line}: the default of {name}, {default!r}, is not a {type_name}.",
                "Mend the type or the default.",
            )
        if not comments.get(node.end_lineno):
            raise ExportError(
                f"{line}: {name} has no help.", "End the line with `# what it is`: --help shows it."
            )
        parameters.append(Parameter(name, type_name, default, comments[node.end_lineno]))
    return parameters


def assignments(texts: Iterable[str]) -> dict[str, str]:
    """Return texts such as ``name=value`` as names and values. Raises CourseError for others."""
    values = {}
    for text in texts:
        name, equals, values[name] = text.partition("=")
        if not equals or not name:
            raise CourseError(f"{text!r} is not a parameter.", "Write name=value.")
    return values


def read_value(name: str, text: str, kind: str) -> str | int | float | bool:
    """Return a text as its type (a key of TYPES), as the options of the scripts read it.

    Nothing is guessed from how a value looks. Raises CourseError for another type's value.
    """
    try:
        return BOOLEANS[text.lower()] if kind == "bool" else TYPES[kind](text)
    except (ValueError, KeyError):
        raise CourseError(
            f"{name}={text} is not {WORDS[kind]}.",
            f"Write it as in {name}={EXAMPLES[kind]}.",
        ) from None
