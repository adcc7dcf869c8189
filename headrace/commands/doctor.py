"""`headrace doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.terminal import DEFAULT_CONFIG, AsJson, ConfigFile, print_json


def doctor(
    config: ConfigFile = DEFAULT_CONFIG,
    host: Annotated[str, typer.Option(help="The address that the gateway will listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port that it will listen on.")] = 8080,
    as_json: AsJson = False,
) -> None:
    """Say for each part whether it works, and what to do where it does not.

    Each part is tried: it opens the log, writes to the destinations and removes what it wrote. Exits 1 where one fails.

    \b
    Example:
      headrace doctor
    """
    import msgspec

    from headrace.health import examine

    findings = examine(config, host=host, port=port)
    if as_json:
        print_json([msgspec.to_builtins(finding) for finding in findings])
    else:
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False, soft_wrap=True)
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        for finding in findings:
            console.print(Text(f"{finding.status:5}", style=colours[finding.status]), end="")
            console.print(Text(f"{finding.part:18} {finding.detail}"))
            if finding.remedy:
                console.print(Text(f"{'':23} → {finding.remedy}"))
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)
