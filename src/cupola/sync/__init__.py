"""The sync protocol as pure state machines: messages, versions, server and client session."""
