"""`ctx.request`: the request that a function is part of, for both languages."""

from __future__ import annotations

import msgspec

from cupola.auth import Identity
from cupola.errors import BadRequestError
from cupola.functions.call import Call
from cupola.functions.definitions import Kind


class RequestMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """What is known of a request. Functions that call each other see that of the first.

    `ip` and `user_agent` are None for scheduled functions and cron jobs, which no client asked for.
    `scheduled_function_id`: the document of `_scheduled_functions` that this is part of.
    `auth_token`: the token whose claims are the caller's identity, as it was sent.
    """

    ip: str | None
    user_agent: str | None
    request_id: str
    scheduled_function_id: str | None
    auth_token: str | None


def metadata_of(identity: Identity, request_id: str, job: str | None) -> RequestMetadata:
    origin = identity.origin
    return RequestMetadata(origin.ip, origin.user_agent, request_id, job, origin.token)


def request_of(call: Call) -> RequestMetadata:
    """The request behind a mutation.

    Raises:
        BadRequestError (RequestMetadataNotAllowed): It is a query, which others share.
    """
    if call.kind is Kind.QUERY:
        raise BadRequestError(
            "A query cannot see the request that asked: its result is shared. Ask in a mutation or "
            "an action, or let an audit log carry it.",
            code="RequestMetadataNotAllowed",
        )
    call.observe_identity()
    return metadata_of(call.identity, call.request_id, call.job)
