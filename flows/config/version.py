"""A name for what a configuration says, to tell by which one an event was processed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from connectors.values import Secret
from flows.config.settings import Config


def config_version(config: Config) -> str:
    """Twelve hexadecimal digits: the same for the same configuration, whatever its layout, directory or secrets."""
    plain = _without_secrets(config, str(config.file.parent))
    plain.pop("file")
    return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()[:12]


def _without_secrets(value: Any, base: str) -> Any:
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        named = {"": tag if tag is not None else type(value).__name__}
        return named | {name: _without_secrets(getattr(value, name), base) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: _without_secrets(item, base) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(item, base) for item in value]
    if isinstance(value, Secret):
        return value.template
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str) and value.startswith(f"{base}/"):
        return "." + value[len(base) :]
    return value
