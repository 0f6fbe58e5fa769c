# Generated from notebooks/07-tables-and-runs.ipynb by `make export`; do not edit.
"""Files below a lake, which is a folder or a bucket: names, small texts, and moves that are all or
nothing.
"""

import os
import secrets
from contextlib import suppress

from churn.programs import StepError
from pyarrow import fs as pafs


def join_uri(root: str, *parts: str) -> str:
    """Join a root (folder or URI) and relative parts; an absolute last part wins."""
    for part in parts:
        absolute = "://" in part or part.startswith("/")
        root = part if absolute else f"{root.rstrip('/')}/{part.strip('/')}"
    return root if "://" in root else os.path.abspath(root)


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a folder or URI and the path inside it."""
    if "://" in uri:
        return pafs.FileSystem.from_uri(uri)
    return pafs.LocalFileSystem(), os.path.abspath(uri)


def names_below(uri: str) -> list[str]:
    """Return the names of everything below a folder, relative to it, sorted; none if it is missing.

    The name of a folder ends with a slash.
    """
    files, path = filesystem(uri)
    found = files.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=True))
    slash = {pafs.FileType.Directory: "/"}
    return sorted(i.path[len(path) :].strip("/") + slash.get(i.type, "") for i in found)


def list_folders(uri: str) -> list[str]:
    """Return the names of the folders directly below a folder, sorted; none if it is missing."""
    return sorted({name.partition("/")[0] for name in names_below(uri) if "/" in name})


def exists(uri: str) -> bool:
    """Tell whether a file or folder is there."""
    files, path = filesystem(uri)
    return files.get_file_info(path).type != pafs.FileType.NotFound


def delete_folder(uri: str) -> None:
    """Delete a folder and everything below it."""
    files, path = filesystem(uri)
    with suppress(FileNotFoundError):  # the marker of a bucket's folder, after what was in it
        files.delete_dir(path)


def open_output(uri: str):
    """Open a file for writing; the folders above it may be new."""
    files, path = filesystem(uri)
    if isinstance(files, pafs.LocalFileSystem):
        files.create_dir(os.path.dirname(path), recursive=True)
    return files.open_output_stream(path)


def write_text(uri: str, text: str) -> None:
    """Write a small file aside, then move it into place: readers see the old or the new one."""
    aside = f".{secrets.token_hex(4)}.partial"
    with open_output(uri + aside) as stream:
        stream.write(text.encode())
    files, path = filesystem(uri)
    files.move(path + aside, path)


def create_text(uri: str, text: str) -> bool:
    """Write a small file unless its name is taken; return whether it holds our text.

    Of several writers at once, each with a text of its own, one wins.
    """
    if uri.startswith("gs://"):
        create_object(uri, text)
        return read_text(uri) == text
    write_text(aside := f"{uri}.{secrets.token_hex(4)}.aside", text)
    _, source = filesystem(aside)
    with suppress(FileExistsError):
        os.link(source, filesystem(uri)[1])
    os.remove(source)
    return read_text(uri) == text


def create_object(uri: str, text: str) -> None:
    """Write a small object to a bucket, unless there is one of that name."""
    from google.api_core.exceptions import PreconditionFailed
    from google.cloud import storage  # part of the cloud's runtime, not needed elsewhere

    bucket, _, name = uri.removeprefix("gs://").partition("/")
    blob = storage.Client().bucket(bucket).blob(name)
    with suppress(PreconditionFailed):
        blob.upload_from_string(text, if_generation_match=0)


def read_text(uri: str) -> str:
    """Return the text of a small file."""
    files, path = filesystem(uri)
    with files.open_input_stream(path) as stream:
        return stream.read().decode()


def check_lake(lake: str) -> str:
    """Return the lake's absolute URI, or raise StepError if nothing can be written there."""
    lake = join_uri(lake)
    marker = join_uri(lake, f"_write_check-{secrets.token_hex(4)}")  # others may check as well
    try:
        write_text(marker, "")
        files, path = filesystem(marker)
        files.delete_file(path)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0].partition(" error_info=")[0]
        raise StepError(
            f"Can't write to the lake {lake}: {reason}. Name another by --lake."
        ) from None
    return lake
