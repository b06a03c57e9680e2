"""Opaque cursors: where a page ended, by the moment and id of its last item."""

import base64
import binascii
import json
from datetime import datetime

from market.errors import FieldError, InvalidInput

Place = tuple[datetime, str]
CURSOR_MAX_CHARACTERS = 200


def cursor_of(place: Place) -> str:
    """The text that leads on from a place."""
    body = json.dumps([place[0].isoformat(), place[1]], separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def place_of(cursor: str | None) -> Place | None:
    """The place of a cursor. Raises InvalidInput for one that this market never gave."""
    if cursor is None:
        return None
    try:
        body = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        moment, item_id = datetime.fromisoformat(body[0]), body[1]
        if len(body) != 2 or moment.tzinfo is None or not isinstance(item_id, str) or "\0" in item_id:
            raise ValueError(body)
    except (ValueError, TypeError, LookupError, binascii.Error, RecursionError, OverflowError):
        fault = FieldError("", "this cursor is not one of ours", source="query", parameter="cursor")
        raise InvalidInput(fault.detail, remedy="begin again without a cursor", errors=[fault]) from None
    return moment, item_id
