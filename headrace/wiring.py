"""What the commands share: the configuration, seen as the gateway and the token store need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from uuid import UUID

from connectors.errors import HeadraceError

if TYPE_CHECKING:
    from pathlib import Path

    from flows.config import Accepted, Config
    from gateway.settings import Settings
    from gateway.tokens import Token, TokenStore

DEFAULT_URL = "http://127.0.0.1:8080"
"""Where `headrace up` listens unless told otherwise."""


def gateway_settings(config: Config) -> Settings:
    """What the gateway needs of a configuration."""
    from flows.config import config_version
    from gateway.settings import Limits, Settings, StreamSettings

    return Settings(
        version=config_version(config),
        data=config.data,
        log=config.log,
        streams=tuple(
            StreamSettings(
                name=name,
                id=stream.id,
                limits=Limits(
                    requests_per_second=stream.limits.requests_per_second,
                    bytes_per_second=stream.limits.bytes_per_second,
                ),
            )
            for name, stream in config.streams.items()
        ),
    )


class ConfigSource:
    """A `gateway.reloading.Source`: the configuration in the file `path`, of which `current` was accepted."""

    def __init__(self, path: Path, current: Accepted) -> None:
        from flows.config import Watch

        self._path = path
        self._watch = Watch(path, current)

    def begin(self) -> Settings:
        """The settings in force; this process looks from its own beginning on."""
        from flows.config import Watch

        self._watch = Watch(self._path, self._watch.current)
        return gateway_settings(self._watch.current.config)

    def look(self) -> Settings | str | None:
        """Settings that are new; why what has changed is not taken, once; or None."""
        from flows.config import Refused

        found = self._watch.look()
        if isinstance(found, Refused):
            return found.reason
        return None if found is None else gateway_settings(found.config)


def open_tokens(config: Config) -> TokenStore:
    """The store of API tokens in the data directory."""
    from gateway.tokens import TokenStore, tokens_path

    return TokenStore(tokens_path(config.data))


def state_of(token: Token) -> Literal["valid", "expired", "revoked"]:
    """Whether a token is in force."""
    from connectors.record import now_microseconds

    if token.revoked is not None:
        return "revoked"
    return "expired" if token.expires is not None and token.expires <= now_microseconds() else "valid"


def stream_id(config: Config, name: str) -> str:
    """The id of the stream called `name`; an id is its own. Raises HeadraceError where there is no such stream."""
    if name in config.streams:
        return config.streams[name].id
    if is_uuid(name) and name.lower() in {stream.id for stream in config.streams.values()}:
        return name.lower()
    known = ", ".join(sorted(config.streams)) or "none"
    raise HeadraceError(f"there is no stream '{name}' in {config.file}", remedy=f"its streams: {known}")


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID with its hyphens."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
