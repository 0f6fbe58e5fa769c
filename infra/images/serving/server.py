"""Serve a model.onnx over HTTP, by the contract of Vertex AI's custom containers.

The server knows no model: it asks the ONNX file which inputs it takes and which outputs it gives.
An instance is an object, input by input ({"tenure": 2, "contract": "Two year"}), or an array of the
same values in the order in which the model declares its inputs. What an object has beyond the
model's inputs, an id for instance, is ignored.

Environment (https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements, read
2026-11-24): AIP_STORAGE_URI is the folder with model.onnx, gs://… or local; AIP_HTTP_PORT,
AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE are 8080, /health and /predict unless set.
"""

import json
import logging
import math
import os
import sys
from dataclasses import dataclass

import numpy as np
import onnxruntime
import uvicorn
from pyarrow import fs
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

MODEL_FILE = "model.onnx"
# Seconds. A container that does not listen after four tries, ten seconds apart, is started again:
# say what is wrong before that.
PATIENCE = 20
NUMBERS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
TYPES = NUMBERS | {"tensor(string)": np.object_, "tensor(bool)": np.bool_}

log = logging.getLogger("serving")


class ModelError(Exception):
    """The model cannot be served; the message says why and what to do."""


class RequestError(Exception):
    """The model cannot answer the request; the message names the instance and the input."""


@dataclass(frozen=True)
class Settings:
    """Where the model lies and where the server listens."""

    storage_uri: str
    port: int
    health_route: str
    predict_route: str


def read_settings(environment: dict[str, str]) -> Settings:
    """Return the settings that Vertex AI passes by environment variables."""
    uri = environment.get("AIP_STORAGE_URI", "")
    if not uri:
        raise ModelError(
            f"AIP_STORAGE_URI is not set. Name the folder that holds {MODEL_FILE}: gs://… or local."
        )
    port = environment.get("AIP_HTTP_PORT", "8080")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ModelError(f"AIP_HTTP_PORT must be a port, from 1 to 65535, not {port!r}.")
    return Settings(
        storage_uri=uri,
        port=int(port),
        health_route=environment.get("AIP_HEALTH_ROUTE", "/health"),
        predict_route=environment.get("AIP_PREDICT_ROUTE", "/predict"),
    )


def read_model(storage_uri: str) -> bytes:
    """Read model.onnx from the folder, gs:// or local."""
    uri = storage_uri if "://" in storage_uri else os.path.abspath(storage_uri)
    if uri.startswith("gs://") and "retry_limit_seconds=" not in uri:
        uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={PATIENCE}"
    try:
        filesystem, folder = fs.FileSystem.from_uri(uri)
        with filesystem.open_input_file(f"{folder.rstrip('/')}/{MODEL_FILE}") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Cannot read {MODEL_FILE} in {storage_uri}: {error}. Does the folder hold it, and may "
            "the account of this server read it?"
        ) from error


class Model:
    """A model in the ONNX format that answers lists of instances."""

    def __init__(self, content: bytes):
        try:
            self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise ModelError(f"onnxruntime cannot load {MODEL_FILE}: {error}") from error
        self.inputs = self.session.get_inputs()
        self.outputs = [output.name for output in self.session.get_outputs()]
        for declared in self.inputs:
            if declared.type not in TYPES:
                raise ModelError(
                    f"The model's input {declared.name!r} is a {declared.type}; this server passes "
                    f"{', '.join(TYPES)}. Convert the model with such inputs."
                )

    def predict(self, instances: list) -> list[dict]:
        """Return an object of outputs for each instance; raise RequestError for bad ones."""
        rows = [self._row(number, instance) for number, instance in enumerate(instances)]
        if not rows:
            return []
        feeds = {
            declared.name: self._column(declared, [row[declared.name] for row in rows])
            for declared in self.inputs
        }
        try:
            results = self.session.run(None, feeds)
        except Exception as error:  # what the graph itself refuses, a shape for instance
            raise RequestError(f"The model refuses these instances: {error}") from error
        rows = zip(*(plain(result) for result in results), strict=True)
        return [dict(zip(self.outputs, row, strict=True)) for row in rows]

    def _row(self, number: int, instance: object) -> dict:
        """Return an instance as an object that has every input of the model."""
        names = [declared.name for declared in self.inputs]
        if isinstance(instance, list):
            if len(names) == 1:
                return {names[0]: instance}
            if len(instance) != len(names):
                raise RequestError(
                    f"instance {number} has {len(instance)} values; the model takes {len(names)}: "
                    f"{', '.join(names)}"
                )
            return dict(zip(names, instance, strict=True))
        if not isinstance(instance, dict):
            raise RequestError(f"instance {number} must be an object or an array, not {instance!r}")
        missing = [name for name in names if name not in instance]
        if missing:
            raise RequestError(f"instance {number} lacks {', '.join(missing)}")
        return instance

    @staticmethod
    def _column(declared: onnxruntime.NodeArg, values: list) -> np.ndarray:
        """Return the values of one input as the array that the model declares."""
        width = declared.shape[1] if len(declared.shape) > 1 else None
        for number, value in enumerate(values):
            items = value if isinstance(value, list) else [value]
            if isinstance(width, int) and len(items) != width:
                raise RequestError(
                    f"instance {number}: {declared.name!r} takes {width} values, not {len(items)}"
                )
            for item in items:
                check_value(number, declared, item)
        try:
            array = np.array(values, dtype=TYPES[declared.type])
        except (ValueError, OverflowError) as error:  # of unlike lengths, or too large
            raise RequestError(f"{declared.name!r}: {error}") from error
        return array.reshape(len(values), -1) if len(declared.shape) > 1 else array.reshape(-1)


def check_value(number: int, declared: onnxruntime.NodeArg, value: object) -> None:
    """Refuse a value of another type than the model declares, before numpy makes one of it."""
    kind = declared.type
    if kind == "tensor(string)":
        good, wanted = isinstance(value, str), "a string"
    elif kind == "tensor(bool)":
        good, wanted = isinstance(value, bool), "true or false"
    else:
        whole = np.issubdtype(NUMBERS[kind], np.integer)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        good = good and math.isfinite(value) and (not whole or float(value).is_integer())
        wanted = "a whole number" if whole else "a number"
    if not good:
        raise RequestError(f"instance {number}: {declared.name!r} must be {wanted}, not {value!r}")


def plain(result: object) -> list:
    """Return a model's output as what JSON can hold; tensors and sequences of maps occur."""
    if isinstance(result, np.ndarray):
        return result.tolist()
    return [
        {str(key): value for key, value in item.items()} if isinstance(item, dict) else item
        for item in result
    ]


def read_instances(body: bytes) -> list:
    """Return the instances of a request's body."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise RequestError(f"The body is not JSON: {error}") from error
    instances = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(instances, list):
        raise RequestError('The body must be an object with a list: {"instances": […]}')
    return instances


def make_app(model: Model, settings: Settings) -> Starlette:
    """Return the two routes of the contract."""

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ready"})

    async def predict(request: Request) -> JSONResponse:
        try:
            instances = read_instances(await request.body())
            # onnxruntime works outside Python's lock: another request can come in meanwhile.
            return JSONResponse({"predictions": await run_in_threadpool(model.predict, instances)})
        except RequestError as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    return Starlette(
        routes=[
            Route(settings.health_route, health, methods=["GET"]),
            Route(settings.predict_route, predict, methods=["POST"]),
        ]
    )


def main() -> None:
    """Load the model, then listen: who can connect gets predictions."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        settings = read_settings(dict(os.environ))
        model = Model(read_model(settings.storage_uri))
    except ModelError as error:
        sys.exit(f"error: {error}")
    log.info("Serving %s/%s", settings.storage_uri.rstrip("/"), MODEL_FILE)
    uvicorn.run(make_app(model, settings), host="0.0.0.0", port=settings.port, log_level="info")


if __name__ == "__main__":
    main()
