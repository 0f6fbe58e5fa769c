"""An nbconvert exporter: a narrative notebook becomes a PySpark script with a command line.

The rules, which `book/how-to-use.md` explains to readers:

* the cell tagged ``parameters`` becomes the options (``pipeline_id`` → ``--pipeline-id``);
* functions, classes, imports and UPPER_CASE constants go to module level, the rest into ``main()``;
* cells tagged ``book-only``, ``exercise``, ``solution`` or ``check`` stay on the page;
* a cell tagged ``library:NAME`` holds functions and constants of the library's module NAME: it goes
  into ``churn/NAME.py``, and who needs them imports them from there, the page's own script too;
* without a parameters cell a script holds definitions only, for somebody else to import; without
  any of those either, a notebook has no script;
* a program runs its ``main()`` by the library's ``run_program``.
"""

from __future__ import annotations

import ast
import difflib
import io
import json
import keyword
import os
import re
import subprocess
import sys
import textwrap
import tokenize
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbconvert.exporters import PythonExporter

from churnlab.run.library import ARCHIVE as LIBRARY_ARCHIVE
from churnlab.run.library import PACKAGE as LIBRARY
from churnlab.run.parameters import ExportError, Parameter, read_parameters

PAGE_TAGS = {"book-only", "exercise", "solution", "check", "injected-parameters"}
KNOWN_TAGS = PAGE_TAGS | {
    "parameters",
    "script-only",
    "hide-input",
    "hide-output",
    "remove-input",
    "remove-output",
    "remove-cell",
}
LIBRARY_TAG = "library:"
ARCHIVE = LIBRARY_ARCHIVE.name
LINE_LENGTH = 100
ABOUT_LIBRARY = '''\
# Generated from the notebooks by `make export`; do not edit.
"""The library that the steps of the course share."""
'''


@dataclass
class Module:
    """A module of the library: what it is for, and its functions and constants in order."""

    promise: str
    definitions: list[str] = field(default_factory=list)


@dataclass
class Script:
    """What a notebook's cells turn into, in the order of the file."""

    imports: list[str] = field(default_factory=list)
    definitions: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    parameters: list[Parameter] | None = None
    promise: str = ""
    modules: dict[str, Module] = field(default_factory=dict)


def script_name(notebook_name: str) -> str:
    """Return the module name of a notebook: ``04-model-training`` → ``model_training``."""
    return re.sub(r"^\d+-", "", notebook_name).replace("-", "_")


def library_module(tags: Iterable[str]) -> str:
    """Return the module of the library that a cell of these tags belongs to, "" if to none."""
    return next((t.removeprefix(LIBRARY_TAG) for t in tags if t.startswith(LIBRARY_TAG)), "")


class PySparkScriptExporter(PythonExporter):
    """Export a narrative notebook as a script that plain spark-submit runs."""

    export_from_notebook = "PySpark script"

    def from_notebook_node(self, nb, resources=None, **kw):
        """Return the script's text and nbconvert's resources (with the script's file name)."""
        _, resources = super().from_notebook_node(nb, resources, **kw)
        name = resources["metadata"]["name"]
        resources["unique_key"] = script_name(name)
        return export_notebook(nb, name), resources


def export_notebook(notebook: nbformat.NotebookNode, name: str) -> str:
    """Return the formatted, linted script of a notebook, "" if it has none.

    ``name`` is the notebook's file name without suffix. Raises ExportError.
    """
    return exported_files(notebook, name).get(f"{script_name(name)}.py", "")


def exported_files(notebook: nbformat.NotebookNode, name: str) -> dict[str, str]:
    """Return what a notebook exports, text by path: its script and its modules of the library.

    ``name`` is the notebook's file name without suffix. Raises ExportError.
    """
    script = _collect(notebook, name)
    files = {f"{LIBRARY}/{module}.py": _module(script, module, name) for module in script.modules}
    if script.parameters is not None:
        files[f"{script_name(name)}.py"] = _program(script, name)
    elif script.definitions:
        parts = (script.promise, script.definitions, script.modules)
        files[f"{script_name(name)}.py"] = _definitions(*parts, script.imports, name)
    return {path: _formatted(text, notebook, name) for path, text in files.items()}


def export_all(notebooks: Path, scripts: Path, check: bool = False) -> list[str]:
    """Write what all notebooks export, and the library's archive; with ``check`` only compare.

    Returns the names of the files that differed. With ``check`` a difference, a missing or an
    orphaned file raises ExportError and nothing is written.
    """
    wanted, authors = {}, {}
    for path in sorted(notebooks.glob("*.ipynb")):
        for target, text in exported_files(nbformat.read(path, as_version=4), path.stem).items():
            if target in wanted:
                raise ExportError(
                    f"{path.name} and {authors[target]} both export {target}.",
                    "A module or script is written by one notebook: rename one of the two.",
                )
            wanted[target], authors[target] = text.encode(), path.name
    if any(path.startswith(f"{LIBRARY}/") for path in wanted):
        wanted[f"{LIBRARY}/__init__.py"] = ABOUT_LIBRARY.encode()
        wanted[ARCHIVE] = _archive({p: t for p, t in wanted.items() if p.startswith(f"{LIBRARY}/")})
    changes = _changes(scripts, wanted)
    if check and changes:
        shown = "\n".join(line for diff in changes.values() for line in diff[:20])
        raise ExportError(
            f"{', '.join(changes)}: not what the notebooks export.\n{shown}",
            "Change the notebook, not the script, then run `make export`.",
        )
    for name in changes:
        target = scripts / name
        if name not in wanted:
            target.unlink()
        else:
            target.parent.mkdir(exist_ok=True, parents=True)
            partial = target.with_name(f"{target.name}.partial")
            partial.write_bytes(wanted[name])
            partial.replace(target)
    return list(changes)


def _changes(scripts: Path, wanted: dict[str, bytes]) -> dict[str, list[str]]:
    """Return the files that are not as wanted, each with the lines that differ."""
    found = [*scripts.glob("*.py"), *scripts.glob(f"{LIBRARY}/*.py"), *scripts.glob(ARCHIVE)]
    changes = {}
    for name in sorted({*wanted, *(str(path.relative_to(scripts)) for path in found)}):
        target = scripts / name
        before = target.read_bytes() if target.exists() else b""
        after = wanted.get(name, b"")
        if before != after:
            changes[name] = [] if name == ARCHIVE else _differing_lines(name, before, after)
    return changes


def _differing_lines(name: str, before: bytes, after: bytes) -> list[str]:
    lines = [text.decode("utf-8", errors="replace").splitlines() for text in (before, after)]
    places = (f"{name} (committed)", f"{name} (exported now)")
    return list(difflib.unified_diff(*lines, *places, lineterm="", n=1))


def _archive(files: dict[str, bytes]) -> bytes:
    """Return a ZIP file of the library for --py-files: the same bytes for the same modules."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in sorted(files.items()):
            # Neither today's date nor this machine's zlib shows in the archive.
            archive.writestr(zipfile.ZipInfo(path), text)
    return content.getvalue()


def _formatted(text: str, notebook: nbformat.NotebookNode, name: str) -> str:
    text = _ruff(["check", "--select", "I,F401", "--fix"], text).stdout
    text = _ruff(["format"], text).stdout
    _lint(text, notebook, name)
    return text


def _collect(notebook: nbformat.NotebookNode, name: str) -> Script:
    script, narration, section = Script(), "", ""
    for number, cell in enumerate(notebook.cells, 1):
        where = f"notebooks/{name}.ipynb, cell {number}"
        tags = set(cell.metadata.get("tags", []))
        module = library_module(tags)
        tags.discard(f"{LIBRARY_TAG}{module}")
        if unknown := tags - KNOWN_TAGS:
            raise ExportError(
                f"{where}: unknown tag {', '.join(sorted(unknown))}.",
                f"Known tags are {', '.join(sorted(KNOWN_TAGS))}.",
            )
        if cell.cell_type == "markdown":
            script.promise = script.promise or _promise(cell.source)
            narration = _narration(cell.source)
            if re.search(r"(?m)^## ", cell.source):
                section = _promise(cell.source)
        elif cell.cell_type == "code" and cell.source.strip() and not tags & PAGE_TAGS:
            if module:
                _sort_library_cell(cell.source, module, section, script, where)
            elif "parameters" in tags:
                if script.parameters is not None:
                    raise ExportError(f"{where}: a second parameters cell.", "Merge the two.")
                script.parameters = read_parameters(cell.source, where)
            else:
                lead = "" if "script-only" in tags else narration  # the page tells another story
                _sort_cell(cell.source, lead, script, where)
            narration = ""
    if not script.promise:
        raise ExportError(
            f"notebooks/{name}.ipynb: no promise.",
            "Put a block quote under the title: it becomes the script's docstring.",
        )
    if script.parameters is None and script.body:
        first = script.body[0].strip().splitlines()[-1].strip()
        raise ExportError(
            f"notebooks/{name}.ipynb: `{first}` runs when the script is imported.",
            "Tag the cell book-only, or tag a cell `parameters` to make a program of the notebook.",
        )
    return script


def _sort_library_cell(source: str, module: str, section: str, script: Script, where: str) -> None:
    """Add a cell's functions and constants to a module of the library."""
    if not module.isidentifier() or keyword.iskeyword(module):
        raise ExportError(f"{where}: {module!r} is no name of a module.", "Write library:tables.")
    if module not in script.modules and not section:
        raise ExportError(
            f"{where}: nothing says what the module {module} is for.",
            "Put a block quote under the section's title: it becomes the module's docstring.",
        )
    part = Script(imports=script.imports)
    _sort_cell(source, "", part, where)
    if part.body:
        raise ExportError(
            f"{where}: `{part.body[0].strip().splitlines()[-1].strip()}` runs when the library is "
            "imported.",
            "Tag the cell book-only, or untag it: then it belongs to the script.",
        )
    known = script.modules.setdefault(module, Module(section))
    known.definitions += part.definitions


def _sort_cell(source: str, narration: str, script: Script, where: str) -> None:
    """Share a cell's statements out between module level and main()."""
    if magic := re.search(r"(?m)^\s*[%!?].*", source):
        raise ExportError(
            f"{where}: the magic or shell line `{magic[0].strip()}`.", "Tag the cell book-only."
        )
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise ExportError(f"{where}: {error.msg} in line {error.lineno}.", "Mend it.") from None
    lines, done, body = source.split("\n"), 0, []
    for node in statements:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        if first <= done:
            raise ExportError(f"{where}: two statements in line {first}.", "Give each a line.")
        chunk = "\n".join(lines[done : node.end_lineno]).strip("\n")  # with the comments above
        done = node.end_lineno
        if isinstance(node, ast.Import | ast.ImportFrom):
            script.imports.append(chunk.strip())
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) or _is_constant(node):
            script.definitions.append(chunk)
        elif isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call):
            raise ExportError(
                f"{where}: `{ast.unparse(node)}` only displays a value.", "Tag the cell book-only."
            )
        else:
            body.append(chunk)
    if body:
        script.body.append("\n".join([narration, *body]) if narration else "\n".join(body))


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign | ast.AnnAssign) and all(
        isinstance(target, ast.Name) and target.id.isupper() for target in _targets(node)
    )


def _targets(node: ast.stmt) -> list[ast.expr | None]:
    """Return what a statement assigns to; of one that assigns nothing, [None]."""
    return node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]


def _promise(markdown: str) -> str:
    """The first block quote, as one paragraph of plain text."""
    quote = re.search(r"(?m)(^>.*(?:\n>.*)*)", markdown)
    return _plain(re.sub(r"(?m)^> ?", "", quote[1])) if quote else ""


def _narration(markdown: str) -> str:
    """The last heading of a cell and the paragraph that leads to the code, as a comment.

    Directives and paragraphs that quote numbers of a run are for the page only.
    """
    before, heading, section = markdown.strip().rpartition("\n#")
    section = f"#{section}" if heading else before or section
    paragraphs = re.split(r"\n\s*\n", section)
    kept = []
    if title := re.match(r"#+\s+(.*)", paragraphs[0]):
        kept = [_plain(title[1])]
        paragraphs[0] = "\n".join(paragraphs[0].split("\n")[1:])
    else:
        paragraphs = paragraphs[-1:]
    prose = [p.strip() for p in paragraphs if p.strip()]
    prose = [p for p in prose if not re.match(r"(`{3}|:{3}|\||>|[-*] |\d+\. |<|\$)", p)]
    if prose and "{glue" not in prose[0]:
        kept.append(_plain(prose[0]))
    wrapped = (textwrap.fill(text, LINE_LENGTH - 6) for text in kept)
    return "\n".join(f"# {line}" for text in wrapped for line in text.split("\n"))


def _plain(markdown: str) -> str:
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)  # links
    text = re.sub(r"\{[a-z:]+\}`([^`<]*?)(?:\s*<[^>]*>)?`", r"\1", text)  # roles
    text = re.sub(r"(\*\*|(?<![\w*])\*(?=\w)|(?<=\w)\*(?![\w*])|`)", "", text)  # emphasis, code
    return " ".join(text.split())


def _banner(name: str) -> str:
    return f"# Generated from notebooks/{name}.ipynb by `make export`; do not edit.\n"


def _docstring(promise: str) -> str:
    text = textwrap.fill(promise, LINE_LENGTH - 4).replace("\\", "\\\\")
    return f'"""{text}\n"""' if "\n" in text else f'"""{text}"""'


def _module(script: Script, module: str, name: str) -> str:
    about = script.modules[module]
    others = {k: m for k, m in script.modules.items() if k != module}
    elsewhere = [i for i in script.imports if not i.startswith(f"from {LIBRARY}.{module} import")]
    return _definitions(about.promise, about.definitions, others, elsewhere, name)


def _definitions(
    promise: str, definitions: list[str], modules: dict[str, Module], imports: list[str], name: str
) -> str:
    """Return a file of definitions, which takes what it needs from the notebook's own modules."""
    needed = dict.fromkeys([*imports, *_from_library(modules, definitions)])
    head = _banner(name) + _docstring(promise)
    return "\n\n".join([head, "\n".join(needed), *definitions]) + "\n"


def _from_library(modules: dict[str, Module], sources: list[str]) -> list[str]:
    """Return imports of what some sources use of the notebook's own modules of the library."""
    trees = [ast.parse(textwrap.dedent(source)) for source in sources]
    used = {n.id for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return [
        f"from {LIBRARY}.{module} import {defined}"
        for module, about in modules.items()
        for defined in sorted(used & _defined(about.definitions))
    ]


def _defined(definitions: list[str]) -> set[str]:
    """Return the names that definitions give to functions, classes and constants."""
    names = set()
    for node in ast.parse("\n".join(definitions)).body:
        assigned = {target.id for target in _targets(node) if isinstance(target, ast.Name)}
        names |= assigned | {getattr(node, "name", "")}
    return names - {""}


def _program(script: Script, name: str) -> str:
    own = _from_library(script.modules, [*script.definitions, *script.body])
    imports = dict.fromkeys(["import argparse", *script.imports, *own])
    # The library's own way to run a program: an expected error is one line, without a trace.
    guarded = any(f"from {LIBRARY}." in line for line in imports)
    if guarded:
        imports[f"from {LIBRARY}.programs import run_program"] = None
    used = {n.id for n in ast.walk(ast.parse("\n".join(script.body))) if isinstance(n, ast.Name)}
    unpack = [f"    {p.name} = options.{p.name}" for p in script.parameters if p.name in used]
    main = [
        "def main(arguments: list[str] | None = None) -> None:",
        f'    """Run the steps of notebooks/{name}.ipynb."""',
        "    options = parse_arguments(arguments)" if unpack else "    parse_arguments(arguments)",
        *unpack,
        "",
        "\n\n".join(_indent(block) for block in script.body),
    ]
    parts = [
        _banner(name) + _docstring(script.promise),
        "\n".join(imports),
        *script.definitions,
        *([BOOLEAN] if any(p.type == "bool" for p in script.parameters) else []),
        _argument_parser(script.parameters),
        "\n".join(main),
        f'if __name__ == "__main__":\n    {"run_program(main)" if guarded else "main()"}',
    ]
    return "\n\n\n".join(parts) + "\n"


BOOLEAN = '''\
def boolean(text: str) -> bool:
    """Read the value of a true/false option."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"'''


def _argument_parser(parameters: list[Parameter]) -> str:
    lines = [
        "def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:",
        '    """Read the command line; a missing or wrong option ends it with status 2."""',
        "    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)",
    ]
    for p in parameters:
        text = p.help.replace("%", "%%")
        kind = "boolean" if p.type == "bool" else p.type
        value = "required=True" if p.required else f"default={p.default!r}"
        text = text if p.required else f"{text} (default: %(default)s)"
        option = "--" + p.name.replace("_", "-")
        lines.append(f"    parser.add_argument({option!r}, type={kind}, {value}, help={text!r})")
    return "\n".join([*lines, "    return parser.parse_args(arguments)"])


def _indent(source: str) -> str:
    """Indent code by one level, but leave the inside of multi-line strings as it is."""
    inside, opened = set(), []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "STRING":
            inside.update(range(token.start[0] + 1, token.end[0] + 1))
        elif kind == "FSTRING_START":  # f-strings are tokens of their own from Python 3.12 on
            opened.append(token.start[0])
        elif kind == "FSTRING_END":
            inside.update(range(opened.pop() + 1, token.end[0] + 1))
    return "\n".join(
        line if number in inside or not line.strip() else f"    {line}"
        for number, line in enumerate(source.split("\n"), 1)
    )


def _ruff(command: list[str], text: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run ruff on a text, away from any configuration: the result depends on the text alone.

    It runs in the root folder, because ruff takes the modules of the working folder for its own.
    """
    options = ["--isolated", "--quiet", "--line-length", str(LINE_LENGTH), "--target-version"]
    return subprocess.run(
        [sys.executable, "-m", "ruff", *command, *options, "py311", "--stdin-filename=x.py", "-"],
        input=text,
        text=True,
        encoding="utf-8",
        capture_output=True,
        check=check,
        cwd=os.sep,
    )


def _lint(text: str, notebook: nbformat.NotebookNode, name: str) -> None:
    selected = ["check", "--select", "E,F,B", "--ignore", "E501", "--output-format", "json"]
    found = json.loads(_ruff(selected, text, check=False).stdout or "[]")
    if not found:
        return
    first = found[0]
    line = text.splitlines()[first["location"]["row"] - 1].strip()
    cells = [n for n, c in enumerate(notebook.cells, 1) if line and line in c.source]
    mend = (
        "In the script it is not defined there: pass it as an argument, or import it."
        if first["code"] == "F821"
        else "Mend it in the notebook."
    )
    raise ExportError(
        f"notebooks/{name}.ipynb, cell {cells[0] if cells else '?'}: `{line}`: {first['message']}.",
        mend,
    )
