"""Every code that a refusal can carry: its sort, its meaning, its usual remedy. docs/errors.md is made of this list."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What sort of refusal it is; one table in portal_api maps kinds to statuses."""

    MALFORMED = "malformed"
    INVALID = "invalid"
    NOT_YET = "not_yet"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    WRONG_METHOD = "wrong_method"
    NOT_ACCEPTABLE = "not_acceptable"
    UNSUPPORTED = "unsupported"
    CONFLICT = "conflict"
    STALE = "stale"
    NO_FUNDS = "no_funds"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Meaning:
    """remedy: what to do when the refusal itself says nothing better."""

    kind: Kind
    means: str
    remedy: str


_AGAIN = "try again in a moment"
_AS_SAID = "change what `errors` names, as its `detail` says, and send it again"

OF_A_MARKET: Mapping[str, Meaning] = {
    "malformed_request": Meaning(Kind.MALFORMED, "The request is not HTTP as this market reads it.", "send it anew"),
    "malformed_body": Meaning(
        Kind.MALFORMED,
        "The body cannot be read as JSON, or as what this address takes; the detail says where.",
        "send one JSON document in UTF-8, without NaN, Infinity or a key that stands twice",
    ),
    "idempotency_key_missing": Meaning(
        Kind.MALFORMED,
        "A request that spends came without its `Idempotency-Key`.",
        "send a fresh random text for each intent, and the same one when you retry it",
    ),
    "unsupported_media_type": Meaning(
        Kind.UNSUPPORTED,
        "The body is of a type that this address does not take.",
        "send Content-Type: application/json",
    ),
    "not_acceptable": Meaning(
        Kind.NOT_ACCEPTABLE, "The `Accept` header leaves out the only type that is answered here.", "send Accept: */*"
    ),
    "method_not_allowed": Meaning(
        Kind.WRONG_METHOD, "This address does not know the method.", "use one that the `Allow` header names"
    ),
    "no_such_route": Meaning(Kind.NOT_FOUND, "There is nothing at this address.", "GET /openapi.json lists them all"),
    "invalid_input": Meaning(Kind.INVALID, "Fields or parameters are wrong; `errors` names each of them.", _AS_SAID),
    "invalid_spec": Meaning(Kind.INVALID, "The job's specification is wrong; `errors` names each place.", _AS_SAID),
    "idempotency_key_reused": Meaning(
        Kind.INVALID,
        "This `Idempotency-Key` was used for a request with another body.",
        "use a fresh key for a new intent",
    ),
    "invalid_query": Meaning(
        Kind.INVALID, "The GraphQL document does not fit the schema.", "mend it by the schema; introspection is open"
    ),
    "query_too_large": Meaning(
        Kind.INVALID,
        "The GraphQL document asks for more than one document may: depth, aliases, fields or length.",
        "ask for less, or in several requests",
    ),
    "unauthenticated": Meaning(
        Kind.UNAUTHENTICATED,
        "There is no credential, or it is mistyped, unknown, expired or revoked.",
        "send `Authorization: Bearer ...` with a token of this market; `gridbay login` stores one",
    ),
    "forbidden": Meaning(
        Kind.FORBIDDEN, "The credential is good, but not for this.", "use a token of the kind and role that this needs"
    ),
    "bad_signature": Meaning(
        Kind.FORBIDDEN,
        "A report is not signed by its node's key.",
        "sign the very bytes that are sent with the key the node joined with",
    ),
    "not_found": Meaning(
        Kind.NOT_FOUND,
        "There is no such thing here, or it belongs to somebody else: the two look the same.",
        "check the id, and that the token is of the organization it belongs to",
    ),
    "insufficient_funds": Meaning(
        Kind.NO_FUNDS,
        "What is available does not cover it: a job's first window, or a withdrawal.",
        "gridbay deposit AMOUNT",
    ),
    "budget_spent": Meaning(
        Kind.NO_FUNDS,
        "A budget of the organization does not cover the first window.",
        "wait until its period ends, or have an owner raise it: gridbay budget set",
    ),
    "conflict": Meaning(
        Kind.CONFLICT, "It is not possible in the present state.", "look at the present state, then decide again"
    ),
    "no_offer": Meaning(
        Kind.CONFLICT,
        "No offer of the market fits the job at any time.",
        "ask for less, or raise budget.max_price; `gridbay offers` shows what there is",
    ),
    "idempotency_key_in_flight": Meaning(
        Kind.CONFLICT,
        "The first request with this key is still being worked on.",
        "wait a moment, then send it again unchanged",
    ),
    "illegal_transition": Meaning(
        Kind.CONFLICT, "The state it is in does not lead to the one asked for.", "look at its state again"
    ),
    "stale_attempt": Meaning(
        Kind.STALE,
        "An attempt that is no longer its job's newest tried to change the job.",
        "nothing: the agent ends that attempt by itself",
    ),
    "proof_out_of_turn": Meaning(
        Kind.CONFLICT,
        "A turn of a proof came before its own, after its time, or with other roots than the first time.",
        "nothing: the agent gives this proof up, and is challenged again",
    ),
    "reserve_short": Meaning(
        Kind.CONFLICT,
        "The platform's fees do not cover what they would lay out: a share that was paid out, or that they bear.",
        "adjust less, or wait until the provider has earned as much or the fees have grown",
    ),
    "already_assigned": Meaning(
        Kind.CONFLICT, "This unmatched deposit was credited to an organization before.", "look at its deposit"
    ),
    "too_large": Meaning(
        Kind.TOO_LARGE, "The body, the archive or the file is larger than its bound.", "send less at once"
    ),
    "too_many": Meaning(Kind.TOO_MANY, "As many are open at once as one may have.", "close one, or come back later"),
    "too_many_deposits": Meaning(
        Kind.TOO_MANY, "Too many deposits wait to be paid.", "pay one of them, or wait until it expires"
    ),
    "too_many_withdrawals": Meaning(
        Kind.TOO_MANY, "Too many withdrawals wait.", "wait until one is on its way, or cancel one"
    ),
    "busy": Meaning(Kind.UNAVAILABLE, "More is waiting than this process takes on.", _AGAIN),
    "unavailable": Meaning(Kind.UNAVAILABLE, "Something that this needs is away or not ready yet.", _AGAIN),
    "internal": Meaning(
        Kind.INTERNAL,
        "A fault of the market's own, recorded under `request_id`.",
        "try again; if it stays, tell the operator that number",
    ),
}
"""What a market answers, over REST and GraphQL alike."""

OF_THIS_MACHINE: Mapping[str, Meaning] = {
    "not_a_market": Meaning(
        Kind.UNAVAILABLE,
        "What answers at the URL does not speak as a Gridbay market.",
        "check the URL: `gridbay login --url URL`",
    ),
    "damaged_output": Meaning(
        Kind.UNAVAILABLE, "An output arrived otherwise than its node declared.", "fetch it again"
    ),
    "waited_too_long": Meaning(
        Kind.UNAVAILABLE, "The waiting ended; the job goes on.", "gridbay logs -f JOB, or wait for longer"
    ),
    "receipt_not_verified": Meaning(
        Kind.INVALID, "A receipt does not hold.", "keep it and ask the market's operator about it"
    ),
    "state_in_use": Meaning(
        Kind.CONFLICT, "Another market runs on this state folder.", "stop it, or name another folder with --state"
    ),
    "bad_archive": Meaning(
        Kind.INVALID,
        "A working directory's archive is damaged or reaches out of its folder; the job ends `failed:workdir`.",
        "pack it anew with `gridbay run`, or as a .tar.gz of plain files, folders and links inside it",
    ),
    "portal_refused": Meaning(
        Kind.INVALID, "The market refused an agent's request.", "see the agent's log; `gridbay provider doctor` checks"
    ),
    "portal_unreachable": Meaning(
        Kind.UNAVAILABLE, "An agent cannot reach its market.", "the agent tries again itself"
    ),
}
"""What the command line, the SDK and the agent say by themselves."""

CODES: Mapping[str, Meaning] = {**OF_A_MARKET, **OF_THIS_MACHINE}

FIELD_CODES: Mapping[str, str] = {
    "invalid": "the value is not possible; the detail says why",
    "unknown_field": "there is no such field or parameter; `suggestion` has the nearest name",
    "missing_field": "it must be there",
    "not_yet": "known, but not available yet",
    "wrong_type": "text, number, list or mapping: another one is needed",
    "wrong_choice": "not one of the values there are; `suggestion` has the nearest",
    "wrong_form": "it is written in another way",
    "wrong_name": "the name itself is not possible",
    "out_of_range": "too small, too large, too short or too long",
    "twice": "it may be said once",
    "character": "it holds a character that cannot be stored",
}
"""What the `code` of one of a problem's `errors` says."""


def usual_remedy(code: str) -> str:
    """Empty for a code of another version."""
    return CODES[code].remedy if code in CODES else ""
