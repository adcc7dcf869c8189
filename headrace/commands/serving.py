"""`headrace up`, `serve`, `run`: the gateway and the dataflow, together or alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.terminal import DEFAULT_CONFIG, ConfigFile, announce

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 picks a free one and prints it.")]
Workers = Annotated[
    int | None, typer.Option(min=1, max=256, help="Gateway processes.  [default: one a core, at most 4]")
]
Processes = Annotated[int, typer.Option(min=1, max=1024, help="Dataflow processes.")]
FallBack = Annotated[Path | None, typer.Option(help="What to start with where the configuration itself is wrong.")]


def up(
    config: ConfigFile = DEFAULT_CONFIG,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    workers: Workers = None,
    processes: Processes = 1,
) -> None:
    """Run the gateway and the dataflow until Ctrl-C.

    Prints `ready http://HOST:PORT` on stdout once an event can be taken. A part that dies is started again.

    \b
    Example:
      headrace up --port 8080
    """
    from connectors.counting import count_in
    from connectors.logger import configure_logging
    from flows.config import load
    from flows.config.watch import ACCEPTED
    from gateway.port import reserve
    from headrace.supervisor import Part, Supervisor, follow_parent

    follow_parent()
    loaded = load(config)
    _, kept = reserve(
        host, port
    )  # for as long as this process lives: no one takes it while the gateway is started again
    port = kept.getsockname()[1]
    configure_logging()
    count_in(loaded.data / "metrics")  # the children's too: what each of them counts, the gateway shows
    accepted = loaded.data / "state" / ACCEPTED
    file = ["--config", str(loaded.file), "--fall-back", str(accepted)]

    count = [] if workers is None else ["--workers", str(workers)]
    gateway = Part("gateway", ["serve", *file, "--host", host, "--port", str(port), "--reserved", *count])
    dataflow = Part("dataflow", ["run", *file, "--processes", str(processes)])
    Supervisor([gateway, dataflow], on_ready=lambda: announce(f"ready {gateway.where}")).run()


def serve(
    config: ConfigFile = DEFAULT_CONFIG,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    workers: Workers = None,
    fall_back: FallBack = None,
    reserved: Annotated[
        bool, typer.Option("--reserved", help="The port is kept by the process that starts this.")
    ] = False,
) -> None:
    """Run the gateway alone: it takes events into the log.

    Prints `ready http://HOST:PORT` on stdout once an event can be taken.

    \b
    Example:
      headrace serve --host 0.0.0.0 --port 8080 --workers 2
    """
    from connectors.logger import configure_logging
    from flows.config.watch import accept_again
    from gateway.serve import serve as serve_gateway
    from headrace.supervisor import follow_parent
    from headrace.wiring import ConfigSource, gateway_settings

    follow_parent()
    configure_logging()
    accepted = accept_again(config, fall_back)
    serve_gateway(
        gateway_settings(accepted.config),
        host=host,
        port=port,
        workers=workers,
        on_ready=lambda url: announce(f"ready {url}"),
        source=ConfigSource(config, accepted),
        reserved=reserved,
    )


def run(
    config: ConfigFile = DEFAULT_CONFIG,
    processes: Processes = 1,
    process_id: Annotated[
        int | None, typer.Option(min=0, help="Start only this one of the processes (from 0): the others run elsewhere.")
    ] = None,
    addresses: Annotated[
        str | None,
        typer.Option(help="The hosts of all processes, `host:port;host:port;…`: as many as there are processes."),
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="Take what the log holds now, commit it, and exit.")] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Serve Prometheus metrics here; 0 picks a free port and prints it.  [default: do not]",
        ),
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="The address to serve metrics on.")] = "127.0.0.1",
    fall_back: FallBack = None,
) -> None:
    """Run the dataflow alone: from the log to the destinations.

    \b
    Example:
      headrace run --processes 2 --metrics-port 9464
      headrace run --drain
      headrace run --process-id 0 --addresses "one:2101;two:2101"      # on host one, and 1 on host two
    """
    import signal

    from connectors.counting import count_in, count_together, serve_exposition
    from connectors.logger import configure_logging
    from flows.run import Dataflow
    from headrace.supervisor import follow_parent

    if addresses is not None:
        # Partitions stay within a process, so the processes have nothing to say to each other: only their number counts.
        if process_id is None:
            raise typer.BadParameter("--addresses needs --process-id: which of them this host is")
        processes = len([address for address in addresses.replace(",", ";").split(";") if address.strip()])
    if process_id is not None and process_id >= processes:
        raise typer.BadParameter(f"--process-id {process_id} must be below --processes {processes}")
    follow_parent()
    configure_logging()
    what = f"dataflow of {processes} process{'es' if processes > 1 else ''}"
    count_together()
    dataflow = Dataflow(
        config,
        processes=processes,
        only=process_id,
        drain=drain,
        on_ready=lambda: announce(f"ready {what}"),
        fall_back=fall_back,
    )
    if metrics_port is not None:
        count_in(dataflow.data / "metrics")
        what += f", metrics {serve_exposition(metrics_host, metrics_port)}"
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: dataflow.stop())
    dataflow.run()
