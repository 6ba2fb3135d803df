"""A deployment as one in-process object: the engine's turn, calls, sessions, code."""

from cupola.backend.backend import Backend
from cupola.backend.calls import CallRequest, CallResult, Channel, Done
from cupola.backend.node import ExecutionLog
from cupola.backend.sessions import SessionHost

__all__ = ["Backend", "CallRequest", "CallResult", "Channel", "Done", "ExecutionLog", "SessionHost"]
