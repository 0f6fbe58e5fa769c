"""A stand-in for the plugins terraform-provider-google and -time that knows their schema and nothing else.

Terraform checks a configuration against the schema itself, all but one thing that it leaves to the
provider: that nobody sets what only the provider fills. Mocked tests never ask a provider for more,
so `terraform validate` and `terraform test` run without registry, account or network.

Usage: python terraform_provider.py SCHEMA [--dev]
SCHEMA is the file that schema.py wrote. Terraform starts it, several times a run. With --dev it
stays, and prints the variable TF_REATTACH_PROVIDERS by which Terraform finds it: four times as fast.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import msgpack
import tf.provider
import tf.runner
from tf.gen import tfplugin_pb2, tfplugin_pb2_grpc


def unconfigurable(
    block: tfplugin_pb2.Schema.Block, values: object
) -> Iterator[tfplugin_pb2.Diagnostic]:
    """Yield an error for each value that only the provider fills, in nested blocks as well."""
    if not isinstance(values, dict):  # not there, or not known yet
        return
    for attribute in block.attributes:
        only_computed = attribute.computed and not attribute.optional
        if only_computed and values.get(attribute.name) is not None:
            yield tfplugin_pb2.Diagnostic(
                severity=tfplugin_pb2.Diagnostic.ERROR,
                summary="Value for unconfigurable attribute",
                detail=f'Can\'t configure a value for "{attribute.name}": the provider fills it.',
            )
    for nested in block.block_types:
        inner = values.get(nested.type_name)
        for item in inner if isinstance(inner, list) else [inner]:
            yield from unconfigurable(nested.block, item)


class SchemaServicer(tfplugin_pb2_grpc.ProviderServicer):
    """Answers what validation and mocked tests ask; anything else is 'unimplemented'."""

    def __init__(self, provider: "SchemaProvider"):
        self.provider = provider

    def GetProviderSchema(self, request, context):
        """Return the schema of all resources and data sources."""
        return self.provider.schema

    def ValidateProviderConfig(self, request, context):
        """Accept the provider's settings; Terraform has checked names and types."""
        return tfplugin_pb2.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request, context):
        """Refuse a resource that sets what only the provider fills."""
        block = self.provider.schema.resource_schemas[request.type_name].block
        diagnostics = list(unconfigurable(block, msgpack.unpackb(request.config.msgpack)))
        return tfplugin_pb2.ValidateResourceConfig.Response(diagnostics=diagnostics)

    def ValidateDataResourceConfig(self, request, context):
        """Refuse a data source that sets what only the provider fills."""
        block = self.provider.schema.data_source_schemas[request.type_name].block
        diagnostics = list(unconfigurable(block, msgpack.unpackb(request.config.msgpack)))
        return tfplugin_pb2.ValidateDataResourceConfig.Response(diagnostics=diagnostics)

    def ConfigureProvider(self, request, context):
        """Accept the settings; there is nothing to connect to."""
        return tfplugin_pb2.ConfigureProvider.Response()

    def StopProvider(self, request, context):
        """Stop; there is nothing under way."""
        return tfplugin_pb2.StopProvider.Response()


class SchemaProvider:
    """What the runner needs to know of a provider."""

    def __init__(self, schema_file: Path):
        answer = tfplugin_pb2.GetProviderSchema.Response()
        answer.ParseFromString(schema_file.read_bytes())
        self.schema = answer

    def full_name(self) -> str:
        """Return the provider's address."""
        return "hashicorp/google"


if __name__ == "__main__":
    # The runner looks the servicer up by this name when it starts.
    tf.provider.ProviderServicer = SchemaServicer
    tf.runner.run_provider(SchemaProvider(Path(sys.argv[1])), sys.argv)
