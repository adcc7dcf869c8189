"""`headrace schema`."""

from __future__ import annotations

from headrace.terminal import print_json


def schema() -> None:
    """Print the JSON Schema of headrace.yaml, for editors.

    \b
    Example:
      headrace schema > headrace.schema.json
      # then, as the first line of headrace.yaml:
      # yaml-language-server: $schema=headrace.schema.json
    """
    from flows.config import json_schema

    print_json(json_schema())
