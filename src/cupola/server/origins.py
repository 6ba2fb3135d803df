"""Where requests come from: the client's address, also behind proxies, and its user agent.

A proxy adds the address of whoever connected to it at the end of `X-Forwarded-For`. What stands
there counts only as far as proxies that are trusted have written it: the header is read from its
end, and the first address that is no trusted proxy's is the client's. Anybody else may send
whatever they like, and is known by the address of their connection.
"""

import ipaddress
from collections.abc import Iterable

from cupola.auth import Origin
from cupola.errors import ConfigurationError
from cupola.server.messages import Request

TRUSTED_BY_DEFAULT = "127.0.0.0/8,::1"
_USER_AGENT_LENGTH_MAX = 1024
_HOPS_MAX = 32
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Origins:
    """Reads origins, trusting some proxies."""

    def __init__(self, trusted_proxies: str = TRUSTED_BY_DEFAULT) -> None:
        """`trusted_proxies`: addresses and networks, joined by commas; `*` is everybody.

        Raises:
            ConfigurationError: One of them is no address.
        """
        self._networks = list(_networks(trusted_proxies))
        self._known: dict[str, bool] = {}  # peers: most often there are few

    def of_request(self, request: Request, *, is_user: bool) -> Origin:
        """`is_user`: a token in its `Authorization` has proved a user."""
        headers, client = request.headers, request.scope.get("client")
        token = None
        if is_user:
            credential = headers[b"authorization"].decode("utf-8", "replace")
            token = credential.partition(" ")[2].strip()
        forwarded = headers.get(b"x-forwarded-for")
        if forwarded is not None and client:  # all of that name: each proxy may add its own
            pairs = request.scope["headers"]
            forwarded = b",".join(value for name, value in pairs if name == b"x-forwarded-for")
        agent = headers.get(b"user-agent")
        return self.of(
            client[0] if client else None,
            None if agent is None else agent.decode("latin-1"),
            None if forwarded is None else forwarded.decode("latin-1"),
            token,
        )

    def of(
        self,
        peer: str | None,
        user_agent: str | None,
        forwarded_for: str | None,
        token: str | None = None,
    ) -> Origin:
        """`peer`: the address of the connection. The others: the headers of these names."""
        ip = peer
        if forwarded_for is not None and peer is not None and self._is_trusted(peer):
            ip = self._client_in(forwarded_for) or peer
        if user_agent is not None and len(user_agent) > _USER_AGENT_LENGTH_MAX:
            user_agent = user_agent[:_USER_AGENT_LENGTH_MAX]
        return Origin(ip, user_agent, token)

    def _client_in(self, forwarded_for: str) -> str | None:
        """The client's address; None if the header makes no sense."""
        found = None
        for text in forwarded_for.split(",")[: -_HOPS_MAX - 1 : -1]:
            address = _address(text)
            if address is None:
                return found
            found = str(address)
            if not any(address in network for network in self._networks):
                return found
        return found

    def _is_trusted(self, peer: str) -> bool:
        known = self._known.get(peer)
        if known is None:
            address = _address(peer)
            known = address is not None and any(address in each for each in self._networks)
            if len(self._known) >= 1000:
                self._known.clear()
            self._known[peer] = known
        return known


def _networks(text: str) -> Iterable[_Network]:
    for each in filter(None, (part.strip() for part in text.split(","))):
        if each == "*":
            yield ipaddress.ip_network("0.0.0.0/0")
            yield ipaddress.ip_network("::/0")
            continue
        try:
            yield ipaddress.ip_network(each)
        except ValueError as error:
            raise ConfigurationError(
                f"{each!r} in --trusted-proxies is no address or network ({error}); write "
                "`10.0.0.7` or `10.0.0.0/8`, joined by commas.",
                code="BadTrustedProxies",
            ) from None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as proxies write it, maybe with a port; None if it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
