"""What Google's APIs have in common: parents, errors, filters of lists."""

import re

import grpc

PARENT = re.compile(r"projects/(?P<project>[a-z0-9-:.]+)/locations/(?P<region>[a-z0-9-]+)")
CONDITION = re.compile(r"(\w+|labels\.[a-z0-9_-]+)\s*[=:]\s*\"?([\w .-]+?)\"?")


class ApiError(Exception):
    """What an API answers instead of a result: a gRPC status code and a message."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> ApiError:
    """Return the error for a request that breaks a rule."""
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, message)


def parse_filter(text: str, *fields: str) -> list[tuple[str, str]]:
    """Return the conditions of a list filter: ``state = RUNNING AND labels.team = churn``.

    ``fields`` are what may be named beside labels. Raises ApiError for anything else.
    """
    conditions = []
    for part in filter(None, re.split(r"\s+AND\s+", text.strip())):
        found = CONDITION.fullmatch(part.strip())
        if not found or not (found[1] in fields or found[1].startswith("labels.")):
            known = ", ".join(fields)
            raise invalid(f"Can't filter by {part!r}: use {known} or labels.KEY with =.")
        conditions.append(found.groups())
    return conditions


def meets(resource, field: str, value: str) -> bool:
    """Tell whether a resource meets one condition of a filter."""
    if field == "state":
        return resource.state.name == value
    if field == "batch_id":
        return resource.name.rpartition("/")[2] == value
    if field.startswith("labels."):
        return resource.labels.get(field.removeprefix("labels.")) == value
    return getattr(resource, field) == value
