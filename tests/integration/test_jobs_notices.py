"""Notices arrive: at a real SMTP server and a real webhook, from the command line, and what is secret of their addresses stays so."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from jupyter_cloudml.jobs.notices.delivery import deliver

from .test_cli import Home, home  # noqa: F401 - the fixture
from .test_jobs_cli import put

MAILS: list[bytes] = []
POSTS: list[tuple[str, bytes]] = []


class Smtp(socketserver.StreamRequestHandler):
    """Takes mails, as much of SMTP as that needs."""

    def handle(self) -> None:
        self.wfile.write(b"220 sink\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (part := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(part)
                MAILS.append(b"".join(lines))
            elif verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 ok\r\n")


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        POSTS.append((self.headers.get("Authorization", ""), body))
        self.send_response(200 if self.path == "/hook" else 500)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def served(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_failed_run_is_told_by_mail_and_to_a_webhook(home: Home, tmp_path: Path) -> None:  # noqa: F811
    MAILS.clear()
    POSTS.clear()
    path = put(tmp_path, "fails.ipynb", "x = 1", "print('so far')\nraise ValueError('no rows')")
    secret = tmp_path / "hook"
    with (
        served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp)) as smtp,
        served(ThreadingHTTPServer(("127.0.0.1", 0), Hook)) as hook,
    ):
        secret.write_text(f"json://ada:hush-7@127.0.0.1:{hook}/hook\n")
        mail = f"mailto://127.0.0.1:{smtp}/?from=cloudml@example.org&to=ada@example.org"
        definition = {"notebook": str(path), "notify": [{"to": mail}, {"to": f"file:{secret}"}]}
        file = tmp_path / "nightly.json"
        file.write_text(json.dumps(definition))
        home.run("job", "create", "nightly", "-f", str(file))
        home.run("job", "run", "nightly", "--wait", check=1)
        (run,) = home.json("job", "runs", "nightly")["runs"]
        seen = home.json("job", "show", run["run"])
        assert [each["state"] for each in seen["notices"]] == ["sent", "sent"], seen["notices"]
        again = deliver(f"json://ada:hush-7@127.0.0.1:{hook}/other", "title", "text")
        assert again and "hush-7" not in again
    (told,) = MAILS
    message = message_from_bytes(told)
    assert message["Subject"] == "nightly: failed" and "ada@example.org" in message["To"]
    parts: Any = [part for part in message.walk() if part.get_content_type() == "text/plain"]
    text = parts[0].get_payload(decode=True).decode()
    for each in (run["run"], "ValueError: no rows", "Cell 2", "raise ValueError"):
        assert each in text, text
    (authorization, body), _ = POSTS
    assert authorization.startswith("Basic ") and json.loads(body)["title"] == "nightly: failed"
    for kept in (tmp_path / "home").rglob("*"):
        assert not kept.is_file() or b"hush-7" not in kept.read_bytes(), kept


def test_a_server_that_takes_a_notice_and_says_nothing_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = deliver(f"json://127.0.0.1:{silent.getsockname()[1]}/x", "title", "text", 2)
    assert error == "it was not delivered within 2 s"
    assert deliver("nonsense://x", "title", "text") == "it is no address that apprise knows"
