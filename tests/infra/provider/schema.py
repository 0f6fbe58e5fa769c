"""Read the google provider's schema out of the wheel `cdktn-provider-google`.

The wheel is generated from the schema that the real provider tells Terraform, and its JavaScript
keeps nearly everything of it: a comment above each attribute says whether it is required, optional
or computed, the getter below says its type, and the writer for HCL says which nested objects are
lists, sets or single blocks. What it does not keep are the provider's own validators (patterns,
conflicts between arguments) and which values are sensitive.

Usage: python schema.py OUT [TYPE ...]
Writes the provider's answer to Terraform's GetProviderSchema, serialised, to the file OUT, and
prints the provider's version. With types, google_storage_bucket for instance, only theirs are
written: Terraform asks for the schema several times a run, and reads all of it each time.
"""

import json
import re
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tf.gen import tfplugin_pb2

Schema = tfplugin_pb2.Schema
NESTING = Schema.NestedBlock.NestingMode

KINDS = {
    "TerraformResource": "resource_schemas",
    "TerraformDataSource": "data_source_schemas",
    "TerraformProvider": "provider",
}
SHAPES = {"list": NESTING.LIST, "set": NESTING.SET}
# How often a block may lie within one of its own kind. (One resource of all has such blocks.)
DEPTH = 2
PRIMITIVES = {
    "getStringAttribute": "string",
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getStringMapAttribute": ["map", "string"],
    "getListAttribute": ["list", "string"],
    "getNumberListAttribute": ["list", "number"],
}
MAPS = {"StringMap": ["map", "string"], "StringMapList": ["list", ["map", "string"]]}
WRITTEN = {
    "string": "string",
    "number": "number",
    "boolean": "bool",
    "stringMap": ["map", "string"],
    "stringList": ["list", "string"],
}

SOURCE = re.compile(r"package/lib/([\w-]+)/.*\.js")
CLASS = re.compile(r"^class (\w+) extends cdktn\.(\w+) \{$", re.MULTILINE)
VERSION = re.compile(r"providerVersion: '([\d.]+)'")
TYPE_NAME = re.compile(r'static tfResourceType = "(\w+)";')
ATTRIBUTE = re.compile(
    r"^ {4}// (?P<name>\w+) - computed: (?P<computed>\w+), optional: (?P<optional>\w+), "
    r"required: (?P<required>\w+)\n"
    r'(?: {4}_\w+(?: = new (?:\w+\.)?(?P<nested>\w+)\(this, "\w+"(?:, (?P<set>\w+))?\))?;\n)?'
    # above the getter of a secret that is written and never read
    r"(?: {4}/\*\*\n {4}\* @deprecated Write-only.*\n {4}\*/\n)?"
    r" {4}get \w+\(\) \{\n {8}return (?P<getter>[^;]+);",
    re.MULTILINE,
)
WRITER = re.compile(
    r'^ +(?P<name>\w+): \{\n +value: .*,\n +isBlock: \w+,\n +type: "(?P<shape>\w+)",\n'
    r' +storageClassType: "(?P<class>\w+)",$',
    re.MULTILINE,
)
SUFFIX = re.compile(r"(List|OutputReference)$")


# The one resource of the provider hashicorp/time that infra/ uses, as its documentation has it:
# https://registry.terraform.io/providers/hashicorp/time/latest/docs/resources/sleep
TIME_SLEEP = {
    "id": '"string"',
    "create_duration": '"string"',
    "destroy_duration": '"string"',
    "triggers": '["map","string"]',
}


class SchemaError(Exception):
    """The wheel is not as this module expects it; the message names the place."""


@dataclass(frozen=True)
class Module:
    """The classes of one resource: their bodies, and how nested ones are written to HCL."""

    folder: str
    bases: dict[str, str]
    bodies: dict[str, str]
    shapes: dict[str, str]
    written: dict[str, str]

    def attributes(self, class_name: str) -> list[re.Match]:
        """Return what the class says about each of its attributes."""
        body = self.bodies.get(class_name)
        if body is None:
            raise SchemaError(f"{self.folder}: no class {class_name}. Has the wheel changed?")
        found = list(ATTRIBUTE.finditer(body))
        if len(found) != body.count(" - computed: "):
            raise SchemaError(f"{self.folder}: {class_name} has attributes of an unknown form")
        return found


def parse_module(folder: str, source: str) -> Module:
    """Split a resource's JavaScript into its classes."""
    found = list(CLASS.finditer(source))
    starts = [match.start() for match in found] + [len(source)]
    writers = list(WRITER.finditer(source))
    return Module(
        folder=folder,
        bases={match[1]: match[2] for match in found},
        bodies={match[1]: source[match.end() : starts[i + 1]] for i, match in enumerate(found)},
        shapes={SUFFIX.sub("", match["class"]): match["shape"] for match in writers},
        written={match["name"]: match["class"] for match in writers},
    )


def attribute_type(module: Module, found: re.Match) -> str | list:
    """Return the type of an attribute in Terraform's JSON notation, nested objects included."""
    nested, getter = found["nested"], found["getter"]
    if nested in MAPS:
        return MAPS[nested]
    if nested:
        inner = ["object", object_type(module, SUFFIX.sub("OutputReference", nested))]
        return inner if nested.endswith("OutputReference") else [collection(found), inner]
    for method, type_ in PRIMITIVES.items():
        if f"this.{method}(" in getter:
            return ["set", *type_[1:]] if "Fn.tolist" in getter else type_
    raise SchemaError(f"{module.folder}: no type for {found['name']} ({getter})")


def object_type(module: Module, class_name: str) -> dict[str, str | list]:
    """Return name and type of each attribute of a class that only the provider fills."""
    return {found["name"]: attribute_type(module, found) for found in module.attributes(class_name)}


def collection(found: re.Match) -> str:
    """Tell a list of nested objects from a set of them."""
    return "set" if found["set"] == "true" else "list"


def is_block(found: re.Match) -> bool:
    """Return whether the configuration writes this as a block (what it cannot set is no block)."""
    computed_only = found["computed"] == "true" and found["optional"] == "false"
    return bool(found["nested"]) and found["nested"] not in MAPS and not computed_only


def nested_block(module: Module, found: re.Match, outer: tuple[str, ...]) -> Schema.NestedBlock:
    """Return a nested block with its nesting and how often it may and must occur."""
    class_name = SUFFIX.sub("OutputReference", found["nested"])
    if not class_name.endswith("OutputReference"):
        raise SchemaError(f"{module.folder}: {found['name']} is neither list nor object")
    shape = module.shapes[SUFFIX.sub("", class_name)]
    inner = block(module, class_name, outer)
    if shape == "struct":
        return Schema.NestedBlock(type_name=found["name"], block=inner, nesting=NESTING.SINGLE)
    return Schema.NestedBlock(
        type_name=found["name"],
        block=inner,
        nesting=SHAPES[shape],
        min_items=int(found["required"] == "true"),
        # The wheel makes a list of what may occur more than once, and one object of the rest.
        max_items=int(found["nested"] == class_name),
    )


def attribute(module: Module, found: re.Match) -> Schema.Attribute:
    """Return an attribute with its type, and whether it is required, optional or computed."""
    flags = {flag: found[flag] == "true" for flag in ("required", "optional", "computed")}
    type_ = json.dumps(attribute_type(module, found)).encode()
    return Schema.Attribute(name=found["name"], type=type_, **flags)


def block(module: Module, class_name: str, outer: tuple[str, ...] = ()) -> Schema.Block:
    """Return what may stand in a block: arguments, computed attributes and nested blocks."""
    arguments = module.attributes(class_name)
    blocks = [found for found in arguments if is_block(found)]
    if outer.count(class_name) == DEPTH:
        blocks = []
    return Schema.Block(
        attributes=[attribute(module, found) for found in arguments if not is_block(found)],
        block_types=[nested_block(module, found, (*outer, class_name)) for found in blocks],
    )


def settings(module: Module, class_name: str) -> Schema.Block:
    """Return what may stand in `provider "google"`; its getters have no types, the writer has.

    The few nested settings (batching, credentials from elsewhere) have no class and are left out.
    """
    names = [found["name"] for found in module.attributes(class_name)]
    return Schema.Block(
        attributes=[
            Schema.Attribute(name=name, type=json.dumps(WRITTEN[kind]).encode(), optional=True)
            for name in names
            if (kind := module.written[name]) in WRITTEN
        ]
    )


def modules(archive: Path) -> Iterator[Module]:
    """Yield the module of each resource in the npm package that the wheel carries."""
    sources: dict[str, list[str]] = {}
    with tarfile.open(archive, mode="r|gz") as package:
        for member in package:
            found = SOURCE.fullmatch(member.name)
            if found:
                text = package.extractfile(member).read().decode()
                sources.setdefault(found[1], []).append(text)
    for folder, texts in sources.items():
        yield parse_module(folder, "\n".join(texts))


def provider_version(found: list[Module]) -> str:
    """Return the version of the google provider whose schema this is."""
    versions = {
        match[1]
        for module in found
        for body in module.bodies.values()
        for match in VERSION.finditer(body)
    }
    if len(versions) != 1:
        raise SchemaError(f"the wheel names {len(versions)} versions of the provider, not one")
    return versions.pop()


def provider_schema(
    found: list[Module], types: set[str]
) -> tfplugin_pb2.GetProviderSchema.Response:
    """Return the schema: the provider's settings, resources and data sources (all, or of types)."""
    answer = tfplugin_pb2.GetProviderSchema.Response()
    for module in found:
        for class_name, base in module.bases.items():
            kind = KINDS.get(base)
            if kind == "provider":
                answer.provider.block.CopyFrom(settings(module, class_name))
            elif kind:
                name = TYPE_NAME.search(module.bodies[class_name])[1]
                if not types or name in types:
                    getattr(answer, kind)[name].block.CopyFrom(block(module, class_name))
    if not answer.resource_schemas or not answer.HasField("provider"):
        raise SchemaError("the wheel holds no provider or no resources")
    return answer


def time_sleep() -> Schema.Block:
    """Return what may stand in a wait."""
    return Schema.Block(
        attributes=[
            Schema.Attribute(
                name=name, type=kind.encode(), computed=name == "id", optional=name != "id"
            )
            for name, kind in TIME_SLEEP.items()
        ]
    )


def package_archive() -> Path:
    """Return the npm package inside the installed wheel."""
    found = find_spec("cdktn_provider_google")
    if found is None:
        raise SchemaError("cdktn-provider-google is not installed. Run: make test")
    (archive,) = (Path(found.origin).parent / "_jsii").glob("provider-google@*.jsii.tgz")
    return archive


if __name__ == "__main__":
    found = list(modules(package_archive()))
    answer = provider_schema(found, set(sys.argv[2:]))
    # One stand-in plays both providers, and has one schema for both.
    answer.resource_schemas["time_sleep"].block.CopyFrom(time_sleep())
    Path(sys.argv[1]).write_bytes(answer.SerializeToString())
    print(provider_version(found))
