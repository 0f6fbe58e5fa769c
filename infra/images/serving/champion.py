"""A packaged champion: read from its folder, checked, and asked for probabilities with reasons.

A package is a folder with model.onnx (features to probability), nodes.parquet (the same forest,
for the reasons) and package.json (columns, categories, threshold, lineage, a few answers to check
against, and the digests of the other files). churn/packages.py writes it.
"""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from typing import Annotated

import numpy as np
import onnxruntime
from churn.attribution import TreeShap
from churn.forest import Forest
from churn.reasons import reasons_of_one, strongest
from pyarrow import fs
from pyarrow import parquet as pq
from pydantic import BaseModel, Field, ValidationError, create_model

NOTE, MODEL, NODES = "package.json", "model.onnx", "nodes.parquet"
POINTER = "champion.json"  # names the champion's folder, beside the packages
# Seconds. A container that does not listen after four tries, ten seconds apart, is started again:
# say what is wrong before that.
PATIENCE = 20
MAX_INSTANCES = 1000
AS_GOOD_AS_EQUAL = 1e-6

Category = Annotated[str, Field(strict=True, max_length=200)]
Amount = Annotated[float, Field(strict=True, ge=0, lt=1e12, allow_inf_nan=False)]
Whole = Annotated[float, Field(strict=True, ge=0, lt=1e9, multiple_of=1)]


class PackageError(Exception):
    """The package cannot be served; the message says why and what to do."""


class RequestError(Exception):
    """The request cannot be answered; ``problems`` name instance and field."""

    def __init__(self, problems: list[dict]):
        self.problems = problems
        super().__init__("; ".join(map(in_words, problems)))


def in_words(problem: Mapping) -> str:
    """Return a problem as a sentence: instance, field, what is wrong."""
    place = [f"instance {problem['instance']}"] if "instance" in problem else []
    place += [f"'{problem['field']}'"] if "field" in problem else []
    return ": ".join([*place, problem["problem"]])


class Reason(BaseModel):
    """A column and how far it moves the probability up or down."""

    feature: str
    contribution: float


class Prediction(BaseModel):
    """What the server says of one customer."""

    churn_probability: float
    prediction: str
    base: float
    reasons: list[Reason]
    raises: list[str]  # the same reasons in the customer's words: those that raise the probability
    lowers: list[str]
    unseen: list[str]  # columns whose value the model has never seen
    model_version: str
    pipeline_id: str  # of the run that packaged the model


class Predictions(BaseModel):
    """The answer: a prediction for each instance, in their order."""

    predictions: list[Prediction]


class Parameters(BaseModel):
    """What a request may ask for."""

    reasons: Annotated[float, Field(strict=True, ge=0, le=100, multiple_of=1)] = 3


def request_model(columns: list[dict]) -> type[BaseModel]:
    """Return the type of a request to a model with these columns."""
    kinds = {"category": Category, "amount": Amount, "whole": Whole}
    fields = {c["name"]: (kinds[c["kind"]], Field(**described(c))) for c in columns}
    instance = create_model("Instance", **fields)
    return create_model(
        "Instances",
        instances=(list[instance], Field(max_length=MAX_INSTANCES)),
        parameters=(Parameters, Parameters()),
    )


def described(column: dict) -> dict:
    """Return what the OpenAPI says of a column beside its type."""
    if not column["values"]:
        return {}
    return {
        "description": "Another value than the examples is answered, and named as unseen.",
        "examples": column["values"],
    }


def read_request(model: type[BaseModel], body: bytes) -> BaseModel:
    """Return the request in a body. Raises RequestError with instance and field."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestError([problem_of(item) for item in found[:20]]) from None


def problem_of(item: Mapping) -> dict:
    """Return one of pydantic's findings as instance, field and problem."""
    place, problem = item["loc"], {}
    if place[:1] == ("instances",) and len(place) > 1:
        problem["instance"] = place[1]
        place = place[2:]
    if place:
        problem["field"] = ".".join(map(str, place))
    return problem | {"problem": item["msg"]}


class Champion:
    """A model that answers lists of instances."""

    def __init__(self, files: Mapping[str, bytes], folder: str):
        try:
            self.note = json.loads(files[NOTE])
            self.folder = folder
            check_digests(files, self.note["files"])
            self.columns = self.note["columns"]
            self.numbers = [{v: float(n) for n, v in enumerate(c["values"])} for c in self.columns]
            self.request = request_model(self.columns)
            nodes = pq.read_table(io.BytesIO(files[NODES])).to_pandas()
            self.forest = Forest(nodes, {c["name"]: c["values"] for c in self.columns})
            self.attribution = TreeShap(self.forest)
            self.session = onnxruntime.InferenceSession(files[MODEL], session_options())
            self.check_answers(self.note["examples"])
        except PackageError:
            raise
        except Exception as error:  # what is damaged decides which
            raise PackageError(
                f"The package at {folder} cannot be served: {error}. Package the model again."
            ) from error

    @property
    def version(self) -> str:
        """Return the model version."""
        return self.note["model_version"]

    def check_answers(self, examples: Mapping) -> None:
        """Raise PackageError unless the package answers here as Spark did where it was made."""
        request = self.request.model_validate(examples)
        found = self.probabilities(self.features(request.instances))
        gap = float(np.abs(found - examples["churn_probability"]).max())
        if not gap <= AS_GOOD_AS_EQUAL:
            raise PackageError(
                f"The package at {self.folder} does not answer here as it did where it was made: "
                f"probabilities differ by up to {gap:.2g}. Package the model again."
            )

    def features(self, instances: list[BaseModel]) -> np.ndarray:
        """Return instances × features: the number of each category's value, and the amounts."""
        x = np.empty((len(instances), len(self.columns)))
        for position, (column, numbers) in enumerate(zip(self.columns, self.numbers, strict=True)):
            values = [getattr(instance, column["name"]) for instance in instances]
            if column["kind"] == "category":
                values = [numbers.get(value, len(numbers)) for value in values]
            x[:, position] = values
        return x

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Return the probability of churn of each row of features."""
        return self.session.run(None, {"features": x})[0].ravel()

    def answer(self, body: bytes) -> dict:
        """Return the predictions for the instances in a body. Raises RequestError."""
        request = read_request(self.request, body)
        if not request.instances:
            return {"predictions": []}
        x = self.features(request.instances)
        probabilities = self.probabilities(x)
        count = int(request.parameters.reasons)
        moves = self.attribution.contributions(x) if count else np.zeros_like(x)
        rows = zip(request.instances, x, probabilities, moves, strongest(moves, count), strict=True)
        return {"predictions": [self.prediction(*row) for row in rows]}

    def prediction(
        self, instance: BaseModel, x: np.ndarray, probability: float, moves: np.ndarray, order
    ) -> dict:
        """Return what is said of one customer."""
        names = [column["name"] for column in self.columns]
        values = tuple(getattr(instance, name) for name in names)
        features, contributions, raises, lowers = reasons_of_one(names, values, moves, order)
        moved = zip(features, contributions, strict=True)
        known = [len(numbers) for numbers in self.numbers]
        return {
            "churn_probability": float(probability),
            "prediction": "yes" if probability >= self.note["threshold"] else "no",
            "base": self.forest.base,
            "reasons": [{"feature": name, "contribution": move} for name, move in moved],
            "raises": raises,
            "lowers": lowers,
            "unseen": [n for n, value, k in zip(names, x, known, strict=True) if k and value == k],
            "model_version": self.version,
            "pipeline_id": self.note["pipeline_id"],
        }


def session_options() -> onnxruntime.SessionOptions:
    """Return options for many small requests: each is answered by one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options


def check_digests(files: Mapping[str, bytes], digests: Mapping[str, str]) -> None:
    """Raise ValueError if a file is not the one that the note tells of."""
    for name, digest in digests.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise ValueError(f"{name} is damaged or of another package")


def open_storage(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a folder, gs:// or local, and the path inside it."""
    uri = uri if "://" in uri else os.path.abspath(uri)
    if uri.startswith("gs://") and "retry_limit_seconds=" not in uri:
        uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={PATIENCE}"
    files, folder = fs.FileSystem.from_uri(uri)
    return files, folder.rstrip("/")


def read_file(uri: str, name: str) -> bytes:
    """Return a file of a folder. Raises PackageError."""
    try:
        files, folder = open_storage(uri)
        with files.open_input_file(f"{folder}/{name}") as stream:
            return stream.read()
    except (OSError, ValueError) as error:
        raise PackageError(
            f"Cannot read {name} in {uri}: {error}. Does the folder hold it, and may this server's "
            "account read it?"
        ) from error


def find_package(uri: str) -> str:
    """Return the folder of the package to serve.

    ``uri`` is a package itself, as Vertex AI copies it, or the lake's folder of packages, in which
    a pointer names the champion's. Raises PackageError if it is neither.
    """
    try:
        files, folder = open_storage(uri)
        pointer = read_pointer(files, folder)
        if not pointer and files.get_file_info(f"{folder}/{NOTE}").is_file:
            return uri
    except (OSError, ValueError) as error:
        # Who may not list is told "denied" of what is not there.
        hint = f"It holds neither {NOTE} nor {POINTER}, or this server may not read them"
        raise PackageError(
            f"Cannot look into {uri}: {error}. {hint}: package the champion (`churnlab package`), "
            "then look at the right of the server's account."
        ) from error
    if not pointer:
        raise PackageError(
            f"{uri} holds neither {NOTE} nor {POINTER}: it is no package and no folder of them. "
            "Package the champion: `churnlab package`."
        )
    base, mark, query = uri.partition("?")
    return f"{base.rstrip('/')}/{pointer}{mark}{query}"


def read_pointer(files: fs.FileSystem, folder: str) -> str:
    """Return the package that a folder's pointer names; "" if there is none.

    It is read without looking whether it is there: to look, pyarrow lists what a bucket holds, and
    who may read only packages may not. For the same reason a bucket denies what it doesn't have.
    """
    try:
        with files.open_input_file(f"{folder}/{POINTER}") as stream:
            return json.loads(stream.read())["package"]
    except FileNotFoundError:
        return ""
    except OSError as error:
        if "PERMISSION_DENIED" in str(error):
            return ""
        raise


def read_champion(folder: str) -> Champion:
    """Read and check the package in a folder. Raises PackageError."""
    return Champion({name: read_file(folder, name) for name in (NOTE, MODEL, NODES)}, folder)
