"""One wrong input and how it is to be refused: the rows of this folder's tables."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from market.error_codes import CODES, FIELD_CODES


@dataclass(frozen=True)
class Asked:
    """A wrong request. where: what one of the problem's `errors` must name (a pointer, or a parameter); by: who asks.

    body: plain data, sent as JSON, or bytes, sent as they are; meant: the suggestion; says: words of the detail.
    """

    status: int
    code: str
    method: str
    path: str
    body: Any = None
    where: str | None = None
    meant: str = ""
    says: str = ""
    by: str = "customer"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes | None:
        """Escaped JSON, so that any character can be sent."""
        if self.body is None or isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body).encode()

    def amiss(self, status: int, media_type: str, problem: Any) -> str:
        """What of an answer is not as it should be; empty when all of it is."""
        if status != self.status or not isinstance(problem, dict) or problem.get("code") != self.code:
            return f"{status} {str(problem)[:300]}, not {self.status} {self.code}"
        if media_type != "application/problem+json":
            return f"it is {media_type}"
        return self.amiss_in(problem)

    def amiss_in(self, problem: Mapping[str, Any]) -> str:
        """The same of what REST and GraphQL have in common."""
        if problem["type"] != f"/errors#{self.code}" or self.code not in CODES:
            return f"its type is {problem['type']}"
        if not problem["remedy"] or not problem["request_id"].startswith("req_"):
            return "it has no remedy or no request id"
        places = {item["pointer"] or item["parameter"]: item for item in problem["errors"]}
        if not all(item["code"] in FIELD_CODES and item["detail"] for item in places.values()):
            return f"its places have no code: {problem['errors']}"
        if self.where is not None and self.where not in places:
            return f"it names {sorted(places)}, not {self.where}"
        if self.meant and places[self.where or ""]["suggestion"] != self.meant:
            return f"it suggests {places[self.where or '']['suggestion']!r}, not {self.meant}"
        if any(len(item["detail"]) > 600 for item in problem["errors"]):
            return "a detail has no bound"
        return ""


Table = Mapping[str, Mapping[str, Asked]]
"""Wrong requests by what they are wrong in, each with a name."""
