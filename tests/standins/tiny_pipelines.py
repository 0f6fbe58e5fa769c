"""Small pipelines, compiled as the course's own is, for tests that need no Spark."""

from pathlib import Path

from google_cloud_pipeline_components.v1.dataproc import DataprocPySparkBatchOp
from google_cloud_pipeline_components.v1.dataset import TabularDatasetCreateOp
from kfp import compiler, dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def greet(name: str, times: int, loud: bool) -> float:
    """Say hello, or fail for nobody."""
    import time

    if not name:
        raise ValueError("There is nobody to greet.")
    if name == "sleeper":
        time.sleep(600)
    print("hello", (name.upper() if loud else name) * times)
    return times / 2


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def celebrate(name: str):
    """Do something that only happens behind a condition."""
    print("hooray for", name)


@dsl.pipeline(name="greeting")
def greeting(
    name: str, pipeline_id: str = "", times: int = 3, limit: float = 1.0, loud: bool = False
):
    """Greet; celebrate those who are greeted often."""
    hello = greet(name=name, times=times, loud=loud)
    with dsl.If(hello.outputs["Output"] >= limit, name="often"):
        celebrate(name=name)


@dsl.pipeline(name="registration")
def registration(project: str, location: str, uri: str):
    """Register a managed dataset."""
    TabularDatasetCreateOp(
        project=project, location=location, display_name="customers", gcs_source=uri
    )


@dsl.pipeline(name="one-batch")
def one_batch(project: str, location: str, batch_id: str, script: str):
    """Run one batch by the Dataproc component's own launcher."""
    DataprocPySparkBatchOp(
        project=project, location=location, batch_id=batch_id, main_python_file_uri=script
    )


def compile_all(folder: Path) -> dict[str, str]:
    """Compile the pipelines and return their files by name."""
    files = {}
    for pipeline in (greeting, registration, one_batch):
        files[pipeline.name] = str(folder / f"{pipeline.name}.yaml")
        compiler.Compiler().compile(pipeline, files[pipeline.name])
    return files
