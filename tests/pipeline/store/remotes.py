"""Remote places on loopback: an S3 server, a proxy that breaks what passes through it, and a very small Hub."""

import base64
import hashlib
import http.client
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from visual_thought.pipeline.place import StoreUrl
from visual_thought.pipeline.store.layout import Layout
from visual_thought.pipeline.store.mirror import Mirror
from visual_thought.pipeline.store.objects import ObjectRemote
from visual_thought.pipeline.store.remote import Patience

HOST = "127.0.0.1"


class Waits:
    """Patience that waits for nothing and remembers how long it would have."""

    def __init__(self, attempts=6):
        self.seconds = []
        self.patience = Patience(attempts=attempts, pause=self.seconds.append, draw=lambda: 1.0)


def layout_at(text, cache, *, endpoint=None, waits=None):
    """A layout of the store at a URL with a local copy of its own, as another machine would have."""
    url = StoreUrl(text, cache)
    remote = ObjectRemote(url, patience=(waits or Waits()).patience, endpoint=endpoint)
    return Layout(url.folder, Mirror(url, url.folder, remote))


@contextmanager
def serving(handler):
    """A server of that handler class in threads of this process."""
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Faults:
    """What a proxy does to the requests that come; every fault happens as often as its number says."""

    def __init__(self):
        self.busy = 0  # answer 503 and forward nothing
        self.drop = 0  # forward a PUT, then close without the reply
        self.cut = 0  # forward a GET, then send half of the body
        self.corrupt = 0  # forward a GET, then change one byte of the body
        self.only = ""  # …for paths that hold this text
        self.log = []
        self._lock = threading.Lock()

    def take(self, name, path):
        with self._lock:
            left = getattr(self, name)
            if left and self.only in path:
                setattr(self, name, left - 1)
                return True
            return False


@contextmanager
def proxy(target_port, faults):
    """An HTTP proxy before a port of this machine; yields its own port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body in one packet: no waiting for an acknowledgement between them

        def forward(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            faults.log.append((self.command, self.path))
            if faults.take("busy", self.path):
                self.answer(503, {}, b"slow down")
                return
            upstream = http.client.HTTPConnection(HOST, target_port)
            upstream.request(self.command, self.path, body, dict(self.headers))
            reply = upstream.getresponse()
            data, headers = reply.read(), dict(reply.getheaders())
            upstream.close()
            if self.command == "PUT" and faults.take("drop", self.path):
                self.close_connection = True
                return
            if self.command == "GET" and data and faults.take("corrupt", self.path):
                data = data[:-1] + bytes([data[-1] ^ 1])
            half = self.command == "GET" and faults.take("cut", self.path)
            self.answer(reply.status, headers, data, send=data[: len(data) // 2] if half else data)
            self.close_connection = half

        def answer(self, status, headers, data, *, send=None):
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", len(data)) if self.command == "HEAD" else len(data)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data if send is None else send)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815 - http.server's names

        def log_message(self, *args):
            pass

    with serving(Handler) as server:
        yield server.server_port


class Hub:
    """Repositories of a Hub: a list of commits each, a commit being path -> bytes. Speaks what a store needs."""

    def __init__(self):
        self.commits = {}
        self.before_commit = []  # called one by one, each before one commit is looked at
        self.lose_replies = 0
        self.private = {}

    def sha(self, repo, number=-1):
        commits = self.commits[repo]
        return hashlib.sha1(f"{repo}{number % len(commits)}".encode()).hexdigest()

    def head(self, repo):
        return self.commits[repo][-1]

    def at(self, repo, revision):
        for number, files in enumerate(self.commits[repo]):
            if self.sha(repo, number) == revision:
                return files
        return self.head(repo)

    def add(self, repo, files):
        self.commits[repo].append(self.head(repo) | files)


def _blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(path, data):
    return {"type": "file", "path": path, "size": len(data), "oid": _blob(data)}


@contextmanager
def hub_server(hub):
    """A server of one Hub; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body in one packet: no waiting for an acknowledgement between them

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            if parts == ["api", "validate-yaml"]:
                self.send(200, {"warnings": [], "errors": []})
                return
            if parts[:3] == ["api", "repos", "create"]:
                said = json.loads(body)
                repo = f"{said['organization']}/{said['name']}" if said.get("organization") else f"lab/{said['name']}"
                if repo in hub.commits:
                    self.send(409, {"url": repo})
                    return
                hub.commits[repo] = [{".gitattributes": b"*.zip filter=lfs\n"}]
                hub.private[repo] = said.get("private", said.get("visibility") == "private")
                self.send(200, {"url": f"http://{self.headers['Host']}/datasets/{repo}", "name": repo})
                return
            repo, action, revision = "/".join(parts[2:4]), parts[4], parts[5]
            if action == "preupload":
                paths = [file["path"] for file in json.loads(body)["files"]]
                said = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
                self.send(200, {"files": said})
            elif action == "paths-info":
                files = hub.at(repo, revision)
                wanted = parse_qs(body.decode())["paths"] if body[:1] != b"{" else json.loads(body)["paths"]
                self.send(200, [_entry(path, files[path]) for path in wanted if path in files])
            elif action == "commit":
                self.commit(repo, [json.loads(line) for line in body.splitlines()])

        def commit(self, repo, lines):
            if hub.before_commit:
                hub.before_commit.pop(0)()
            parent = lines[0]["value"].get("parentCommit")
            if parent and parent != hub.sha(repo):
                self.send(412, {"error": "A commit has happened since"})
                return
            files = [line["value"] for line in lines[1:] if line["key"] == "file"]
            hub.add(repo, {file["path"]: base64.b64decode(file["content"]) for file in files})
            for gone in (line["value"]["path"] for line in lines[1:] if line["key"] == "deletedFile"):
                del hub.head(repo)[gone]
            if hub.lose_replies:
                hub.lose_replies -= 1
                self.close_connection = True
                return
            sha = hub.sha(repo)
            self.send(
                200, {"commitUrl": f"http://{self.headers['Host']}/datasets/{repo}/commit/{sha}", "commitOid": sha}
            )

        def do_GET(self):
            url = urlsplit(self.path)
            parts = unquote(url.path).strip("/").split("/")
            if parts[0] == "datasets":  # datasets/<user>/<name>/resolve/<revision>/<path>; a model has no first word
                parts = parts[1:]
            if len(parts) > 4 and parts[2] == "resolve":
                self.file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
                return
            repo = "/".join(parts[2:4])
            if repo not in hub.commits:
                self.send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            elif len(parts) > 4 and parts[4] == "tree":
                prefix = "/".join(parts[6:])
                found = {p: d for p, d in hub.at(repo, parts[5]).items() if p.startswith(prefix)}
                if prefix and not found:
                    self.send(404, {"error": "no such folder"}, {"X-Error-Code": "EntryNotFound"})
                    return
                self.send(200, [_entry(path, data) for path, data in found.items()])
            else:
                about = {"id": repo, "sha": hub.sha(repo), "private": hub.private[repo]}
                self.send(200, about | {"siblings": [], "tags": []})

        do_HEAD = do_GET  # noqa: N815 - http.server's name

        def file(self, repo, revision, path):
            data = hub.at(repo, revision).get(path)
            if data is None:
                self.send(404, {"error": "no file"}, {"X-Error-Code": "EntryNotFound"})
            else:
                self.send(200, data, {"ETag": f'"{_blob(data)}"', "X-Repo-Commit": hub.sha(repo)})

        def send(self, status, value, headers=None):
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in (headers or {}).items():
                self.send_header(name, text)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *args):
            pass

    with serving(Handler) as server:
        yield f"http://{HOST}:{server.server_port}"
