"""Reads a request's body and inflates it, never holding more than the limit and a little."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import zstandard

from gateway.answers import Refusal
from gateway.stalled import Readings, cut_short

_STEP = 65_536


def read_body(environ: dict[str, Any], limit: int, readings: Readings, *, delimits_itself: bool) -> bytes:
    """The body as sent; Refusal if it is over `limit` bytes or not all of it came.

    `delimits_itself`: whether a body cut short would not be taken for a whole one (JSON, or anything compressed).
    """
    declared = declared_length(environ)
    if declared is not None and declared > limit:
        raise too_large(limit)
    if declared == 0:
        return b""
    ends = endpoints(environ)
    with readings.reading(*ends):
        body = bytes(environ["wsgi.input"].read(limit + 1 if declared is None else declared))
    if declared is not None and len(body) < declared:
        raise Refusal(
            "invalid_json", f"Only {len(body)} of the body's {declared} bytes arrived in time; send the request again."
        )
    if len(body) > limit:
        raise too_large(limit)
    # The server ends a chunked body in the same way whether it came whole or its client went away.
    if declared is None and not delimits_itself and cut_short(*ends):
        raise Refusal("unavailable", "The body was cut short; send the request again.", headers=[("Retry-After", "1")])
    return body


def endpoints(environ: dict[str, Any]) -> tuple[str, int]:
    """The client's address, and the port it came to."""
    return str(environ.get("REMOTE_ADDR", "")), int(environ.get("SERVER_PORT") or 0)


def declared_length(environ: dict[str, Any]) -> int | None:
    """Content-Length; None for a chunked body."""
    text = str(environ.get("CONTENT_LENGTH") or "")
    if "HTTP_TRANSFER_ENCODING" in environ:
        return None
    return int(text) if text.isascii() and text.isdigit() else 0


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """`body` decoded; Refusal past `limit` bytes (and nothing more is inflated), or where it is damaged or cut."""
    if encoding == "identity":
        return body
    try:
        inflated = bytearray()
        while body:
            body = _INFLATERS[encoding](body, inflated, limit)
    except (zlib.error, zstandard.ZstdError, EOFError) as exc:
        raise Refusal("invalid_json", f"The body cannot be decoded as {encoding}: {exc}.") from None
    if len(inflated) > limit:
        raise too_large(limit)
    return bytes(inflated)


def too_large(limit: int) -> Refusal:
    return Refusal("payload_too_large", f"The body is larger than {limit} bytes; send fewer events in a request.")


def _inflate_zlib(body: bytes, into: bytearray, limit: int, wbits: int) -> bytes:
    """Inflates one member into `into`; what follows it."""
    member = zlib.decompressobj(wbits)
    while not member.eof:
        into += member.decompress(body, _STEP)
        if len(into) > limit:
            raise too_large(limit)
        body = member.unconsumed_tail
        if not body and not member.eof:
            into += member.flush(_STEP)
            if not member.eof:
                raise EOFError("it ends too early")
    return member.unused_data


def _inflate_gzip(body: bytes, into: bytearray, limit: int) -> bytes:
    return _inflate_zlib(body, into, limit, 31).lstrip(b"\0")  # padding after a member is allowed


def _inflate_deflate(body: bytes, into: bytearray, limit: int) -> bytes:
    """RFC 9110 means the zlib format by `deflate`; some clients send it raw."""
    wrapped = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    rest = _inflate_zlib(body, into, limit, 15 if wrapped else -15)
    if rest:
        raise EOFError("something follows its end")
    return b""


def _inflate_zstd(body: bytes, into: bytearray, limit: int) -> bytes:
    # A window larger than 8 MiB is never needed for a body of this size, and would cost that much memory.
    frame = zstandard.ZstdDecompressor(max_window_size=1 << 23).decompressobj()
    for start in range(0, len(body), _ZSTD_STEP):
        into += frame.decompress(body[start : start + _ZSTD_STEP])
        if len(into) > limit:
            raise too_large(limit)
        if frame.eof:
            return frame.unused_data + body[start + _ZSTD_STEP :]
    raise EOFError("it ends too early")


_ZSTD_STEP = 256  # one step inflates at most some megabytes, whatever the ratio
_INFLATERS: dict[str, Callable[[bytes, bytearray, int], bytes]] = {
    "gzip": _inflate_gzip,
    "x-gzip": _inflate_gzip,
    "deflate": _inflate_deflate,
    "zstd": _inflate_zstd,
}
ENCODINGS = ("identity", *_INFLATERS)
