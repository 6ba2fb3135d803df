"""Live queries: which of them a commit touches, and what they last came to."""

from cupola.reactivity.query_cache import CacheEntry, QueryCache, QueryKey
from cupola.reactivity.subscriptions import Subscriptions

__all__ = ["CacheEntry", "QueryCache", "QueryKey", "Subscriptions"]
