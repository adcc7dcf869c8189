"""A TCP proxy that can fail as a network does. It is the only way between two parts, so what it does is what they see."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress


class Proxy:
    """Listens at `port` and connects to `target` of 127.0.0.1. `mode` is one of

    pass    everything goes through
    cut     connections are broken, and new ones refused
    stall   connections stay, and nothing goes through either way
    reset   connections are broken (RST); new ones work
    mute    what is asked goes through, no answer comes back; the connections are broken when this mode is left
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._mode = "pass"
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._listen())

    def set(self, mode: str) -> None:
        """Changes the mode, at once."""
        self._call(self._set(mode))

    def _call(self, doing: object) -> None:
        asyncio.run_coroutine_threadsafe(doing, self._loop).result(20)  # type: ignore[arg-type]

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _set(self, mode: str) -> None:
        before, self._mode = self._mode, mode
        if mode in ("cut", "reset") or before == "mute":
            for writer in list(self._writers):
                _reset(writer)
        if mode == "cut" and self._server is not None:
            self._server.close()
            self._server = None
        elif mode != "cut" and self._server is None:
            await self._listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            await self._while("stall")
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(far)
            ways = [
                asyncio.create_task(self._pump(reader, far, ("stall",))),
                asyncio.create_task(self._pump(far_reader, writer, ("stall", "mute"))),
            ]
            _, waiting = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in waiting:
                way.cancel()
        except OSError:
            pass
        finally:
            for one in (writer, far):
                if one is not None:
                    self._writers.discard(one)
                    one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, held: tuple[str, ...]) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._while(*held)
                writer.write(data)
                await writer.drain()

    async def _while(self, *modes: str) -> None:
        while self._mode in modes:
            await asyncio.sleep(0.05)


def _reset(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
