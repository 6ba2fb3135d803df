"""HTTP and WebSocket around a Backend."""

from cupola.server.app import App
from cupola.server.serve import Server, ServerOptions, run, serve, settle

__all__ = ["App", "Server", "ServerOptions", "run", "serve", "settle"]
