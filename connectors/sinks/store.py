"""Files that appear whole or not at all, and never twice: on a local disk or in S3.

What is created is there for good once `create` returns, and a name is created once, whoever tries: the second is told.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pyarrow as pa

from connectors.errors import Transient
from connectors.sinks.place import Place


class Store(Protocol):
    """The files below one place; names are relative to it, with `/`. Every method raises Transient on failure."""

    def names(self, directory: str, prefix: str = "") -> list[str]:
        """The names, without it, of a directory's files that begin so; none where there is no such directory."""

    def create(self, name: str, content: pa.Buffer | bytes) -> bool:
        """Whether the file is now there with this content; False where there was one of that name."""

    def add(self, name: str, content: pa.Buffer) -> None:
        """Writes a file of a name that nobody else has, and nobody looks for yet: a crash may leave a part of it."""

    def read(self, name: str) -> bytes:
        """A file's content."""

    def find(self, name: str) -> bytes | None:
        """A file's content; None where there is no such file."""

    def tail(self, name: str, length: int) -> bytes:
        """The last `length` bytes of a file, or all of it."""


def open_store(place: Place, stream: str) -> Store:
    """The files of a stream. Nothing is touched yet."""
    if place.is_local:
        return LocalStore(Path(place.table_uri(stream)))
    return S3Store(place, stream)


class LocalStore:
    """A directory of a local disk (implements `Store`)."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, directory: str, prefix: str = "") -> list[str]:
        """See `Store.names`."""
        try:
            with os.scandir(self._root / directory) as entries:
                return [entry.name for entry in entries if entry.name.startswith(prefix) and entry.is_file()]
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise Transient(f"listing {self._root / directory}: {exc.strerror}") from exc

    def create(self, name: str, content: pa.Buffer | bytes) -> bool:
        """See `Store.create`. A link, unlike a rename, never replaces what is there."""
        path = self._root / name
        hidden = path.parent / f".{uuid4().hex}.tmp"
        try:
            _make(path.parent)
            try:
                _write(hidden, content)
                os.link(hidden, path)
            finally:
                hidden.unlink(missing_ok=True)
            _sync(path.parent)
        except FileExistsError:
            return False
        except OSError as exc:
            raise _unwritten(path, exc) from exc
        return True

    def add(self, name: str, content: pa.Buffer) -> None:
        """See `Store.add`."""
        path = self._root / name
        try:
            _make(path.parent)
            _write(path, content)
            _sync(path.parent)
        except OSError as exc:
            raise _unwritten(path, exc) from exc

    def read(self, name: str) -> bytes:
        """See `Store.read`."""
        try:
            return (self._root / name).read_bytes()
        except OSError as exc:
            raise Transient(f"reading {self._root / name}: {exc.strerror}") from exc

    def find(self, name: str) -> bytes | None:
        """See `Store.find`."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise Transient(f"reading {self._root / name}: {exc.strerror}") from exc

    def tail(self, name: str, length: int) -> bytes:
        """See `Store.tail`."""
        try:
            with (self._root / name).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - length))
                return file.read()
        except OSError as exc:
            raise Transient(f"reading {self._root / name}: {exc.strerror}") from exc


class S3Store:
    """A prefix in a bucket (implements `Store`). The store must honour conditional puts: see `connectors.sinks.probe`."""

    def __init__(self, place: Place, stream: str) -> None:
        from connectors.sinks.probe import filesystem  # S3's client takes a second to import

        address = urlsplit(place.table_uri(stream).replace("s3a://", "s3://"))
        self._bucket = address.netloc
        self._prefix = unquote(address.path).strip("/")
        self._files = filesystem(place)

    def names(self, directory: str, prefix: str = "") -> list[str]:
        """See `Store.names`."""
        inside = self._key(directory) + "/"
        names: list[str] = []
        more: dict[str, str] = {}
        while True:
            what = f"listing s3://{self._bucket}/{inside}"
            page = self._call("list_objects_v2", what, Prefix=inside + prefix, **more)
            keys = [item["Key"][len(inside) :] for item in page.get("Contents", [])]
            names += [key for key in keys if key and "/" not in key]
            if not page.get("IsTruncated"):
                return names
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def create(self, name: str, content: pa.Buffer | bytes) -> bool:
        """See `Store.create`. One conditional PUT: nobody ever sees half of a file."""
        key = self._key(name)
        body = content if isinstance(content, bytes) else content.to_pybytes()
        try:
            self._call("put_object", f"writing s3://{self._bucket}/{key}", Key=key, Body=body, IfNoneMatch="*")
        except Transient as exc:
            if _status(exc) in (409, 412):
                return False
            raise
        return True

    def add(self, name: str, content: pa.Buffer) -> None:
        """See `Store.add`. An ordinary PUT, that may be sent again."""
        key = self._key(name)
        self._call("put_object", f"writing s3://{self._bucket}/{key}", Key=key, Body=content.to_pybytes())

    def read(self, name: str) -> bytes:
        """See `Store.read`."""
        return self._get(name, {})

    def find(self, name: str) -> bytes | None:
        """See `Store.find`."""
        try:
            return self._get(name, {})
        except Transient as exc:
            if _status(exc) == 404 or isinstance(exc.__cause__, FileNotFoundError):
                return None
            raise

    def tail(self, name: str, length: int) -> bytes:
        """See `Store.tail`."""
        return self._get(name, {"Range": f"bytes=-{length}"})

    def _get(self, name: str, options: dict[str, str]) -> bytes:
        key = self._key(name)
        what = f"reading s3://{self._bucket}/{key}"
        answer = self._call("get_object", what, Key=key, **options)
        return self._body(answer["Body"], what)

    def _body(self, body: Any, what: str) -> bytes:
        from fsspec.asyn import sync

        async def whole() -> bytes:
            async with body as stream:
                content: bytes = await stream.read()
            return content

        try:
            return bytes(sync(self._files.loop, whole))
        except Exception as exc:  # the client's stream raises what its HTTP library does
            raise Transient(f"{what}: {type(exc).__name__}") from exc

    def _key(self, name: str) -> str:
        return "/".join(part for part in (self._prefix, name) if part)

    def _call(self, operation: str, what: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: dict[str, Any] = self._files.call_s3(operation, Bucket=self._bucket, **arguments)
            return answer
        except ClientError as exc:
            raise Transient(f"{what}: {_reason(exc)}") from exc
        except OSError as exc:
            cause = exc.__cause__
            raise Transient(f"{what}: {_reason(cause or exc)}") from (cause or exc)
        except BotoCoreError as exc:
            raise Transient(f"{what}: {_reason(exc)}") from exc


def _status(failed: Transient) -> int:
    """The HTTP status of the store's answer; 0 where there was none."""
    from botocore.exceptions import ClientError

    cause = failed.__cause__
    return cause.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(cause, ClientError) else 0


def _reason(exc: BaseException) -> str:
    """The store's own answer, without the request that it is an answer to."""
    response = getattr(exc, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
        return f"{status} {response.get('Error', {}).get('Code', '')}".strip()
    return str(exc) or type(exc).__name__


def _unwritten(path: Path, exc: OSError) -> Transient:
    return Transient(f"writing {path}: {exc.strerror}", remedy="make room, or give the directory to this user")


def _write(path: Path, content: pa.Buffer | bytes) -> None:
    """Makes a file whose content outlives a power cut."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _make(directory: Path) -> None:
    """Makes a directory whose entry in its parent outlives a power cut."""
    if not directory.is_dir():
        _make(directory.parent)
        directory.mkdir(exist_ok=True)
        _sync(directory.parent)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
