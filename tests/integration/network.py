"""Ways from hosts to servers that a test can cut and mend, each host by itself.

A host's connections go through a relay in this process. Where network namespaces can be made, a
host may have one of its own as well, whose only way out leads there: then its silence is that of a
pulled cable.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
PIECE = 65536

Address = tuple[str, int]


class Relays:
    """The relays of all hosts, in one thread."""

    def __init__(self) -> None:
        self.made: list[Relay] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, coroutine):
        """Return what a coroutine returns that runs there."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def close(self) -> None:
        for each in self.made:
            self.do(each.end())
        self.do(self._rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _rest(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # in which transports close their sockets


class Relay:
    """Relays one host's connections to servers, as long as nothing is said against it."""

    def __init__(self, relays: Relays, at: str, servers: Mapping[str, Address]) -> None:
        self._relays = relays
        self._refusing = False
        self._pipes: set[asyncio.StreamWriter] = set()
        self.at = at
        self.ports = relays.do(self._listen(servers))
        relays.made.append(self)

    def silence(self) -> None:
        """Let nothing through; what is sent arrives when it is let through again."""
        self._relays.do(self._set(open=False))

    def refuse(self) -> None:
        """End all connections, and each new one at once."""
        self._relays.do(self._set(refusing=True))

    def mend(self) -> None:
        self._relays.do(self._set())

    async def _listen(self, servers: Mapping[str, Address]) -> dict[str, int]:
        self._open = asyncio.Event()
        self._open.set()
        self._listeners = {
            name: await asyncio.start_server(self._accepting(server), self.at, 0)
            for name, server in servers.items()
        }
        return {name: each.sockets[0].getsockname()[1] for name, each in self._listeners.items()}

    async def _set(self, *, open: bool = True, refusing: bool = False) -> None:  # noqa: A002
        self._refusing = refusing
        if refusing:
            self._abort()
        if open:
            self._open.set()
        else:
            self._open.clear()

    async def end(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._abort()

    def _abort(self) -> None:
        for each in self._pipes:
            each.transport.abort()

    def _accepting(self, server: Address):
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with self._pipe(writer), suppress(OSError):
                await self._open.wait()
                if self._refusing:
                    writer.transport.abort()
                    return
                there, away = await asyncio.open_connection(*server)
                with self._pipe(away):
                    await asyncio.gather(self._pump(reader, away), self._pump(there, writer))

        return accept

    @contextmanager
    def _pipe(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        self._pipes.add(writer)
        try:
            yield
        finally:
            self._pipes.remove(writer)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            await self._open.wait()
            writer.write(piece)
            await writer.drain()
        writer.close()


@dataclass(frozen=True)
class Namespace:
    """A network of one host: ``eth0`` in it and ``outside`` are the ends of its cable."""

    name: str
    outside: str
    address: str

    @property
    def command(self) -> tuple[str, ...]:
        """What goes before a command that is to run there."""
        return ("ip", "netns", "exec", self.name)

    def set(self, state: str) -> None:
        """Set the cable ``up`` or ``down``."""
        _ip("link", "set", self.outside, state)


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Give a network of its own to a host; raises CalledProcessError where that can't be."""
    token = secrets.token_bytes(3)
    name = f"cron{token.hex()}"
    # Addresses for tests between networks, four for each cable.
    here, there = (f"198.18.{token[0]}.{(token[1] & 252) + end}" for end in (1, 2))
    made = Namespace(name, f"v{token.hex()}", here)
    _ip("netns", "add", name)
    try:
        _ip("link", "add", made.outside, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("addr", "add", f"{here}/30", "dev", made.outside)
        _ip("-n", name, "addr", "add", f"{there}/30", "dev", "eth0")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", "eth0", "up")
        made.set("up")
        yield made
    finally:
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


def no_namespaces() -> str | None:
    """Return why there can be no network namespaces, or None."""
    if os.geteuid():
        return "only root can make network namespaces"
    try:
        with namespace():
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespace can be made here: {getattr(error, 'stderr', error)!r}"


def no_host_names() -> str | None:
    """Return why a host can't have a name of its own, or None."""
    try:
        subprocess.run(
            ["unshare", "--uts", "hostname", "anvil"], check=True, capture_output=True, timeout=20
        )
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no host can have a name of its own here: {getattr(error, 'stderr', error)!r}"
    return None


class Line:
    """The way from one host to the servers."""

    def __init__(self, relay: Relay, network: Namespace | None) -> None:
        self._relay = relay
        self._network = network
        self.address, self.ports = relay.at, relay.ports
        self.command = network.command if network else ()

    def command_as(self, name: str) -> tuple[str, ...]:
        """What goes before a command that is to run there, on a host of that name."""
        script = 'hostname "$0" && exec "$@"'
        return (*self.command, "unshare", "--uts", "sh", "-c", script, name)

    def cut(self, how: str) -> None:
        """Cut it: ``silent``, so that nothing comes and nothing goes, or ``refused``."""
        if how == "refused":
            self._relay.refuse()
        elif self._network:
            self._network.set("down")
        else:
            self._relay.silence()

    def mend(self) -> None:
        if self._network:
            self._network.set("up")
        self._relay.mend()


@contextmanager
def ways(count: int, servers: Mapping[str, Address], *, namespaces: bool) -> Iterator[list[Line]]:
    """Give so many hosts a way to the servers each."""
    relays = Relays()
    with ExitStack() as stack:
        stack.callback(relays.close)
        made = []
        for _ in range(count):
            network = stack.enter_context(namespace()) if namespaces else None
            relay = Relay(relays, network.address if network else LOOPBACK, servers)
            made.append(Line(relay, network))
        yield made
