"""An OpenAI-compatible endpoint on loopback for tests: it counts what it is asked, and fails as it is told to."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behave = Callable[[int, dict[str, Any]], Any]
"""Called with the number of the request (from 1) and its body. Returns the text of the answer, or a dictionary: status,
headers, content (bytes), or pause_s and text."""


class ChatServer:
    """What was asked, in the order of arrival."""

    def __init__(self, behave: Behave) -> None:
        self.behave = behave
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()
        self.url = ""

    @property
    def questions(self) -> Counter[str]:
        """How often each last message was asked."""
        with self.lock:
            return Counter(body["messages"][-1]["content"] for body in self.bodies)


def completion(text: str, **more: Any) -> bytes:
    """The body of an answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 3}
    return json.dumps({"id": "x", "choices": [choice], "usage": usage, **more}).encode()


@contextmanager
def chat_server(behave: Behave) -> Iterator[ChatServer]:
    """A running server; ``url`` ends in /v1."""
    chat = ChatServer(behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with chat.lock:
                chat.bodies.append(body)
                chat.headers.append(dict(self.headers))
                chat.paths.append(self.path)
                number = len(chat.bodies)
                chat.at_once += 1
                chat.most_at_once = max(chat.most_at_once, chat.at_once)
            try:
                self.answer(chat.behave(number, body))
            finally:
                with chat.lock:
                    chat.at_once -= 1

        def answer(self, told: Any) -> None:
            told = {"text": told} if isinstance(told, str) else told
            time.sleep(told.get("pause_s", 0))
            content = told["content"] if "content" in told else completion(told.get("text", ""))
            try:
                self.send_response(told.get("status", 200))
                for name, value in told.get("headers", {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(told.get("length", len(content))))
                self.end_headers()
                self.wfile.write(content)
                if "length" in told:
                    self.close_connection = True
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # The client has lost its patience, or is dead.

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *args: Any) -> None:
            pass  # A client that was killed.

    server = Server(("127.0.0.1", 0), Handler)
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
