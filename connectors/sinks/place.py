"""Where a destination of files lies: a local directory or a prefix in S3, and how that is reached."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec

from connectors.values import Secret


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What destinations of files have in common.

    `uri` is a path or `s3://bucket/prefix`; `{stream}` in it is the stream's name. Where S3's credentials are left out
    they come from the environment or the machine's role, as AWS's own tools do it. `allow_http` (default: whether
    `endpoint` is `http://`) lets events travel unencrypted.
    """

    uri: Annotated[str, msgspec.Meta(min_length=1)]
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    allow_http: bool | None = None
    virtual_hosted_style: bool = False

    @property
    def is_local(self) -> bool:
        """Whether the tables lie on a local disk."""
        return not self.uri.startswith(("s3://", "s3a://"))

    def table_uri(self, stream: str) -> str:
        """Where the table of the stream of this name lies: an absolute path, or an `s3://` address."""
        uri = self.uri.replace("{stream}", stream)
        return unquote(urlsplit(uri).path) if uri.startswith("file://") else uri

    def storage_options(self) -> dict[str, str]:
        """The options of `deltalake.DeltaTable(…, storage_options=…)`; empty for a local table. They hold secrets."""
        if self.is_local:
            return {}
        options: dict[str, str | None] = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_SESSION_TOKEN": self.session_token,
            "AWS_ALLOW_HTTP": None if self.allows_http is None else str(self.allows_http).lower(),
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": str(self.virtual_hosted_style).lower(),
        }
        return {name: value for name, value in options.items() if value is not None}

    @property
    def allows_http(self) -> bool | None:
        """Whether S3 may be spoken to without TLS; None leaves it to the environment."""
        if self.allow_http is not None or self.endpoint is None:
            return self.allow_http
        return self.endpoint.startswith("http://")
