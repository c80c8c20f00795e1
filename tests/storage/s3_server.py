"""A small server with S3's protocol, on loopback: objects, ranges, listings, conditional and multipart uploads.

Signatures are not checked; the access key "denied" gets 403. `requests` are those answered, as "PUT /bucket/key".
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

DATE = "2026-01-01T00:00:00.000Z"
HTTP_DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


@dataclass
class Upload:
    bucket: str
    key: str
    parts: dict[int, bytes] = field(default_factory=dict)


class S3Server(ThreadingHTTPServer):
    """`buckets`: name -> key -> bytes; `uploads`: the unfinished multipart uploads by their id."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets: dict[str, dict[str, bytes]] = {}
        self.etags: dict[tuple[str, str], str] = {}
        self.uploads: dict[str, Upload] = {}
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self.counter = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def store(self, bucket: str, key: str, data: bytes, etag: str | None = None) -> str:
        self.buckets[bucket][key] = data
        self.etags[bucket, key] = etag or f'"{hashlib.md5(data).hexdigest()}"'
        return self.etags[bucket, key]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Server

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def _run(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        body = self._body()
        if body is None:
            self.close_connection = True
            return None
        with self.server.lock:
            self.server.requests.append(f"{self.command} {parts.path}")
            if "Credential=denied/" in self.headers.get("Authorization", ""):
                return self._error(403, "AccessDenied")
            if self.command == "PUT" and not key:
                self.server.buckets.setdefault(bucket, {})
                return self._answer(200)
            if bucket not in self.server.buckets:
                return self._error(404, "NoSuchBucket")
            answer = (
                self._bucket if not key else self._multipart if {"uploads", "uploadId"} & {*query} else self._object
            )
            return answer(bucket, key, query, body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _run  # noqa: N815  names that http.server prescribes

    def _body(self) -> bytes | None:
        """Return the body, None if the connection broke off."""
        length = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(length)
        if len(data) < length:
            return None
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return data
        whole = b""
        while data:
            size, _, data = data.partition(b"\r\n")
            count = int(size.split(b";")[0], 16)
            if not count:
                break
            whole, data = whole + data[:count], data[count + 2 :]
        return whole

    def _bucket(self, bucket: str, _: str, query: dict[str, str], body: bytes) -> None:
        if self.command == "HEAD":
            return self._answer(200)
        if "uploads" in query:
            found = "".join(
                f"<Upload><Key>{escape(upload.key)}</Key><UploadId>{name}</UploadId></Upload>"
                for name, upload in self.server.uploads.items()
                if upload.bucket == bucket and upload.key.startswith(query.get("prefix", ""))
            )
            return self._xml("ListMultipartUploadsResult", found)
        if "delete" in query:
            tree = ElementTree.fromstring(body)
            for node in tree.iter():
                if node.tag.endswith("Key"):
                    self.server.buckets[bucket].pop(node.text or "", None)
            return self._xml("DeleteResult", "")
        return self._list(bucket, query.get("prefix", ""), query.get("delimiter", ""))

    def _list(self, bucket: str, prefix: str, delimiter: str) -> None:
        contents, folders = "", dict[str, None]()
        for key, data in sorted(self.server.buckets[bucket].items()):
            if not key.startswith(prefix):
                continue
            if delimiter and delimiter in key[len(prefix) :]:
                folders[prefix + key[len(prefix) :].split(delimiter)[0] + delimiter] = None
                continue
            contents += f"<Contents><Key>{escape(key)}</Key><LastModified>{DATE}</LastModified>"
            contents += f"<ETag>{escape(self.server.etags[bucket, key])}</ETag><Size>{len(data)}</Size></Contents>"
        contents += "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        self._xml("ListBucketResult", f"<Name>{bucket}</Name><IsTruncated>false</IsTruncated>{contents}")

    def _object(self, bucket: str, key: str, _: dict[str, str], body: bytes) -> None:
        objects = self.server.buckets[bucket]
        if self.command == "PUT":
            if self._exists_already(bucket, key):
                return None
            return self._answer(200, ETag=self.server.store(bucket, key, body))
        if self.command == "DELETE":
            objects.pop(key, None)
            return self._answer(204)
        if key not in objects:
            return self._error(404, "NoSuchKey")
        data, etag = objects[key], self.server.etags[bucket, key]
        if self.headers.get("If-Match", etag) != etag:
            return self._error(412, "PreconditionFailed")
        status, extra = 200, dict[str, str]()
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1 if last else len(data), len(data))
            status, extra = 206, {"Content-Range": f"bytes {first}-{end - 1}/{len(data)}"}
            data = data[int(first) : end]
        return self._answer(status, data, ETag=etag, **{"Last-Modified": HTTP_DATE, **extra})

    def _multipart(self, bucket: str, key: str, query: dict[str, str], body: bytes) -> None:
        uploads = self.server.uploads
        if self.command == "POST" and "uploads" in query:
            self.server.counter += 1
            name = f"upload-{self.server.counter}"
            uploads[name] = Upload(bucket, key)
            return self._xml("InitiateMultipartUploadResult", f"<UploadId>{name}</UploadId>")
        name = query["uploadId"]
        if name not in uploads:
            return self._error(404, "NoSuchUpload")
        upload = uploads[name]
        if self.command == "PUT":
            upload.parts[int(query["partNumber"])] = body
            return self._answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')
        if self.command == "DELETE":
            del uploads[name]
            return self._answer(204)
        if self._exists_already(bucket, key):
            return None
        numbers = [
            int(node.text or 0) for node in ElementTree.fromstring(body).iter() if node.tag.endswith("PartNumber")
        ]
        digests = b"".join(hashlib.md5(upload.parts[number]).digest() for number in numbers)
        etag = f'"{hashlib.md5(digests).hexdigest()}-{len(numbers)}"'
        self.server.store(bucket, key, b"".join(upload.parts[number] for number in numbers), etag)
        del uploads[name]
        return self._xml("CompleteMultipartUploadResult", f"<ETag>{escape(etag)}</ETag>")

    def _exists_already(self, bucket: str, key: str) -> bool:
        refused = self.headers.get("If-None-Match") == "*" and key in self.server.buckets[bucket]
        if refused:
            self._error(412, "PreconditionFailed", "<Condition>If-None-Match</Condition>")
        return refused

    def _xml(self, name: str, content: str) -> None:
        self._answer(200, f'<?xml version="1.0" encoding="UTF-8"?><{name}>{content}</{name}>'.encode())

    def _error(self, status: int, code: str, more: str = "") -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message>{more}</Error>".encode())

    def _answer(self, status: int, data: bytes = b"", **headers: Any) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
