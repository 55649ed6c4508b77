"""A webhook: a small HTTP server that keeps what is posted to it and answers as a test wants it to.

`answer` is asked with the parsed message and gives a status; None leaves the request hanging until the hook
is closed. A closed hook can be opened again at the same port. With `tls` it speaks https with that certificate.
`Authority` makes certificates.
"""
import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote_plus

from .process import free_port
from .waiting import until


class Authority:
    """A certificate authority in a directory, by the openssl command."""
    def __init__(self, place):
        self.place, self.file = place, place / "ca.pem"
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                     "-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.pem")

    def openssl(self, *words):
        done = subprocess.run(["openssl", *words], cwd=self.place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def certify(self, host):
        """Certificate and key for a host, such as IP:127.0.0.1 or DNS:localhost."""
        (self.place / "names").write_text(f"subjectAltName={host}\nbasicConstraints=CA:FALSE\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=hook",
                     "-keyout", "hook.key", "-out", "hook.csr")
        self.openssl("x509", "-req", "-in", "hook.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                     "-days", "2", "-extfile", "names", "-out", "hook.pem")
        return self.place / "hook.pem", self.place / "hook.key"


class Webhook:
    def __init__(self, name="hook", answer=lambda message: 200, tls=None):
        self.name, self.answer, self.tls, self.port = name, answer, tls, free_port()
        self.messages, self.requests = [], []
        self.lock, self.closed = threading.Lock(), threading.Event()
        self.server = None

    @property
    def option(self):
        scheme = "https" if self.tls else "http"
        return ["--webhook", f"{self.name}={scheme}://127.0.0.1:{self.port}/s3?hook"]

    def arn(self, service="sqs"):
        return f"arn:basalt:{service}:us-east-1::{self.name}"

    def open(self):
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                message = json.loads(body)
                status = hook.answer(message)
                with hook.lock:
                    hook.requests.append((self.path, dict(self.headers)))
                    if status == 200:
                        hook.messages.append(message)
                if status is None:
                    hook.closed.wait()
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.closed.clear()
        self.server = Server(("127.0.0.1", self.port), Handler)
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def close(self):
        """Nobody is there any more; connections that are open still answer what they are asked."""
        if self.server:
            self.closed.set()
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def greetings(self):
        with self.lock:
            return [m for m in self.messages if m.get("Event") == "s3:TestEvent"]

    def records(self):
        """The events that were taken, in the order in which they came."""
        with self.lock:
            return [record for message in self.messages for record in message.get("Records", [])]

    def names(self, key=None):
        """(event name, key) of what was taken."""
        pairs = [(r["eventName"], unquote_plus(r["s3"]["object"]["key"])) for r in self.records()]
        return [pair for pair in pairs if key is None or pair[1] == key]

    def wait(self, count, seconds=30):
        """Waits until that many events were taken; gives them."""
        until(lambda: len(self.records()) >= count, seconds, f"{count} events, {self.names()} came")
        return self.records()
