"""The service behind the proxies: responds with the headers of the request and the length of its body."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = len(self.rfile.read(int(self.headers["Content-Length"] or 0)))
        body = json.dumps({"headers": self.headers.items(), "length": length}).encode()
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET


server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
print(f"127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
