"""Moto's S3 in a process of its own, behind a door that checks signed URLs as S3 does; moto itself lets everybody in.

`python signed_moto.py` prints its URL. A POST to /_clock?ahead=SECONDS moves the door's clock, so that a test need not
wait for a URL to expire.
"""

import hmac
import sys
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

KEY, SECRET, REGION = "gridbay-test", "a-secret-of-the-tests", "us-east-1"
STAMP = "%Y%m%dT%H%M%SZ"


class Door:
    """A WSGI application: requests by the API pass, signed URLs only if S3 would take them."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._ahead_seconds = 0.0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"], keep_blank_values=True).items()}
        if environ["PATH_INFO"] == "/_clock":
            self._ahead_seconds = float(query["ahead"])
            return _answer(start_response, "204 No Content")
        if "Authorization" not in _headers(environ) and not self._allowed(environ, query):
            return _answer(start_response, "403 Forbidden")
        return self._inner(environ, start_response)

    def _allowed(self, environ: dict[str, Any], query: dict[str, str]) -> bool:
        if "X-Amz-Signature" not in query:
            return False
        signed_at = datetime.strptime(query["X-Amz-Date"], STAMP).replace(tzinfo=UTC).timestamp()
        if time.time() + self._ahead_seconds > signed_at + int(query["X-Amz-Expires"]):
            return False
        return hmac.compare_digest(_signature(environ, query), query["X-Amz-Signature"])


def _signature(environ: dict[str, Any], query: dict[str, str]) -> str:
    """What S3 would have signed, from the headers that really came."""
    sent = _headers(environ)
    headers = {name: sent.get(name.title(), "") for name in query["X-Amz-SignedHeaders"].split(";")}
    rest = "&".join(part for part in environ["QUERY_STRING"].split("&") if not part.startswith("X-Amz-Signature="))
    url = f"http://{environ['HTTP_HOST']}{environ['RAW_URI'].partition('?')[0]}?{rest}"
    request = AWSRequest(method=environ["REQUEST_METHOD"], url=url, headers=headers)
    request.context["timestamp"] = query["X-Amz-Date"]
    auth = S3SigV4QueryAuth(Credentials(KEY, SECRET), "s3", REGION)
    signature: str = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return signature


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    headers = {name[5:].replace("_", "-").title(): value for name, value in environ.items() if name.startswith("HTTP_")}
    return headers | {"Content-Length": environ.get("CONTENT_LENGTH", "")}


def _answer(start_response: Any, status: str) -> list[bytes]:
    start_response(status, [("Content-Length", "0")])
    return []


def main() -> None:
    server = make_server("127.0.0.1", 0, Door(DomainDispatcherApplication(create_backend_app)), threaded=True)
    sys.stdout.write(f"http://127.0.0.1:{server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
