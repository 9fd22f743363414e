"""A mail server on loopback that keeps what it is sent."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any


@dataclass
class MailServer:
    """Takes any mail; while ``is_hanging`` it greets nobody."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    #: The addresses of the envelopes.
    recipients: list[list[str]] = field(default_factory=list)
    is_hanging: bool = False
    #: Set at the end, so that who hangs goes on.
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving_mail() -> Iterator[MailServer]:
    """Serve SMTP on a free port."""
    mail_server = MailServer()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            if mail_server.is_hanging:
                mail_server.released.wait(60)
                return
            self.say("220 test")
            recipients: list[str] = []
            for line in self.rfile:
                command = line.split(b":")[0].split()[0].upper()
                if command == b"RCPT":
                    recipients.append(line.decode().partition("<")[2].partition(">")[0])
                if command == b"DATA":
                    self.say("354 go on")
                    self.keep(recipients)
                self.say({b"QUIT": "221 bye"}.get(command, "250 fine"))
                if command == b"QUIT":
                    return

        def keep(self, recipients: list[str]) -> None:
            lines: list[bytes] = []
            while (line := self.rfile.readline()) != b".\r\n":
                lines.append(line.removeprefix(b"."))
            data = b"".join(lines)
            message: Any = email.message_from_bytes(data, policy=email.policy.default)
            mail_server.recipients.append(recipients)
            mail_server.messages.append(message)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        mail_server.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield mail_server
        finally:
            mail_server.released.set()
            server.shutdown()
            thread.join()
