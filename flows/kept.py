"""Streams as they are kept in the state, to go by where the configuration says something else of them by now, or nothing."""

from __future__ import annotations

import os

import msgspec

from connectors.errors import ConfigError
from connectors.values import Secret
from flows.config import Stream
from flows.config.environment import expand
from flows.config.settings import Limits

_LITERAL = Secret("").template


class Kept(msgspec.Struct, frozen=True):
    """A stream by the configuration `version`, in which `default` took the events that no route took."""

    stream: Stream
    default: str | None
    version: str


def to_keep(stream: Stream) -> Stream:
    """The stream without what makes nothing of its events, and without the secrets that the environment holds."""
    key = stream.mask_key
    if key is not None and key.template != _LITERAL:
        key = Secret(key.template, key.template)
    return msgspec.structs.replace(stream, limits=Limits(), tests=(), mask_key=key)


def revived(stream: Stream) -> Stream:
    """What was kept of a stream, with its secrets as the environment has them now; ConfigError where it has not."""
    key = stream.mask_key
    if key is None or key.template == _LITERAL:
        return stream
    found = expand(key.template, os.environ)
    if found.missing:
        raise ConfigError(f"the environment variable {found.missing[0]} is not set")
    return msgspec.structs.replace(stream, mask_key=Secret(found.text, key.template))
