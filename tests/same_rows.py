"""When rows that two runs wrote count as the same."""

import json

import pytest


def order(row: dict) -> str:
    """Order rows by everything but floating-point values, which may differ in the last digit."""
    keys = {k: v for k, v in row.items() if not isinstance(v, float | list) and v is not None}
    return json.dumps(keys, sort_keys=True, default=str)


def approximately(value):
    """Return what a value has to equal: floats, also inside lists and rows, to 1e-9."""
    if isinstance(value, float):
        return pytest.approx(value, abs=1e-9)
    if isinstance(value, list):
        return [approximately(item) for item in value]
    if isinstance(value, dict):
        return {key: approximately(item) for key, item in value.items()}
    return value
