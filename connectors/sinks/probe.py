"""Proves that an object store honours a conditional put before anything is committed to it.

A Delta commit is "create this log entry unless it exists". A store that ignores `If-None-Match: *` lets two writers both
succeed, and one of them has lost its rows without an error. So the store is asked to create one object twice: it must
refuse the second time.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import s3fs
from botocore.exceptions import BotoCoreError, ClientError

from connectors.errors import ConfigError, Transient
from connectors.sinks.place import Place

_REFUSED = (409, 412)


def filesystem(settings: Place) -> s3fs.S3FileSystem:
    """The store of an `s3://` destination, with the destination's own credentials and endpoint."""
    client = {"endpoint_url": settings.endpoint, "region_name": settings.region}
    return s3fs.S3FileSystem(
        key=_plain(settings.access_key_id),
        secret=_plain(settings.secret_access_key),
        token=_plain(settings.session_token),
        client_kwargs={name: value for name, value in client.items() if value is not None},
        config_kwargs={
            "s3": {"addressing_style": "virtual" if settings.virtual_hosted_style else "path"},
            "connect_timeout": 5,
            "read_timeout": 20,
            "retries": {"max_attempts": 2},
        },
        skip_instance_cache=True,
    )


def prove_conditional_put(settings: Place) -> None:
    """Returns when a second create of one object is refused; a local destination needs no proof.

    Raises ConfigError where the store overwrites, or refuses the credentials or the bucket; Transient where it cannot
    be reached.
    """
    if settings.is_local:
        return
    address = urlsplit(settings.uri.replace("s3a://", "s3://"))
    prefix = address.path.strip("/").split("{", 1)[0].rstrip("/")
    key = "/".join(part for part in (prefix, f"_headrace_probe_{uuid4().hex}") if part)
    where = f"s3://{address.netloc}"
    store = filesystem(settings)
    put: dict[str, Any] = {"Bucket": address.netloc, "Key": key, "Body": b"headrace", "IfNoneMatch": "*"}
    try:
        _call(store, "put_object", put)
        try:
            refused = _is_refused(store, put)
        finally:
            _call(store, "delete_object", {"Bucket": address.netloc, "Key": key})
    except ClientError as exc:
        raise _explained(exc, where) from exc
    except (BotoCoreError, OSError) as exc:
        raise Transient(f"{where} cannot be reached: {exc}") from exc
    if not refused:
        raise ConfigError(
            f"{where} overwrote an object that a conditional put (If-None-Match: *) must not touch: "
            "two commits there can both succeed and one be lost",
            remedy="use a store that honours conditional puts (AWS S3, SeaweedFS, MinIO, Cloudflare R2, …)",
        )


def _call(store: s3fs.S3FileSystem, operation: str, arguments: dict[str, Any]) -> None:
    """One S3 request. The filesystem turns the store's errors into OSErrors; the store's own answer says more."""
    try:
        store.call_s3(operation, **arguments)
    except OSError as exc:
        if isinstance(exc.__cause__, ClientError):
            raise exc.__cause__ from exc
        raise


def _is_refused(store: s3fs.S3FileSystem, put: dict[str, Any]) -> bool:
    try:
        _call(store, "put_object", put)
    except ClientError as exc:
        if _status(exc) in _REFUSED:
            return True
        raise
    return False


def _status(exc: ClientError) -> int:
    return int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _explained(exc: ClientError, where: str) -> ConfigError | Transient:
    status, code = _status(exc), exc.response.get("Error", {}).get("Code", "")
    if status >= 500 or status == 429:
        return Transient(f"{where} answers {status} {code}")
    if code == "NoSuchBucket":
        return ConfigError(f"the bucket {where} does not exist", remedy="create it, or mend `uri`")
    return ConfigError(f"{where} refuses a write: {status} {code}", remedy="mend the bucket, the keys or their policy")


def _plain(value: str | None) -> str | None:
    """A secret as the plain string that the signing code wants."""
    return None if value is None else str.__str__(value)
