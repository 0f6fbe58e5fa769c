"""A bucket on this machine, and what Spark and Python have to be told to find it.

Only addresses and credentials: the scripts and the notebooks know nothing of this.
"""

import json
from pathlib import Path

from churnlab.standins.storage import find_package_file

CONNECTOR = "pyspark_gcs/jars/gcs-connector-*.jar"
PROJECT = "demo"


def spark_settings(url: str) -> dict[str, str]:
    """Return the settings by which Spark reads gs:// from a storage server.

    The connector is on the class path from the start, so that spark-submit itself can fetch the
    script from the bucket (https://github.com/GoogleCloudDataproc/hadoop-connectors/blob/master/gcs/CONFIGURATION.md,
    accessed 2026-11-24).
    """
    files = "spark.hadoop.fs"
    return {
        "spark.driver.extraClassPath": str(find_package_file(CONNECTOR)),
        f"{files}.gs.impl": "com.google.cloud.hadoop.fs.gcs.GoogleHadoopFileSystem",
        f"{files}.AbstractFileSystem.gs.impl": "com.google.cloud.hadoop.fs.gcs.GoogleHadoopFS",
        f"{files}.gs.storage.root.url": url,
        f"{files}.gs.project.id": PROJECT,
        f"{files}.gs.auth.service.account.enable": "false",
        f"{files}.gs.auth.null.enable": "true",
    }


def arrow_variables(url: str, folder: Path) -> dict[str, str]:
    """Return the environment in which pyarrow reads gs:// from a storage server.

    pyarrow's own client looks for credentials before it asks, and waits long for a machine of
    Google's if there are none. A key that signs for nobody ends the search without a network.
    """
    return {
        "CLOUD_STORAGE_EMULATOR_ENDPOINT": url,
        "GOOGLE_APPLICATION_CREDENTIALS": str(write_key(folder / "key.json")),
    }


def write_key(path: Path) -> Path:
    """Write the key of a service account that does not exist."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key = {"type": "service_account", "project_id": PROJECT, "private_key_id": "nobody"}
    key |= {"private_key": private.decode(), "client_id": "1"}
    key |= {"client_email": "nobody@demo.iam.gserviceaccount.com"}
    key |= {"token_uri": "http://127.0.0.1:1/no-token"}
    path.write_text(json.dumps(key))
    return path


def storage_client():
    """Return Google's client of the server that STORAGE_EMULATOR_HOST names."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    return storage.Client(project=PROJECT, credentials=AnonymousCredentials())
