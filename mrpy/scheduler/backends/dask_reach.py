"""The way to the scheduler of a Dask cluster, how long nobody may answer there, and what is done where a
connection to it is lost."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import socket
import uuid
from typing import Any

from distributed import Client
from distributed.comm import registry
from distributed.comm.addressing import get_address_host_port, parse_address

from mrpy.errors import BackendError, OptionError

PATIENCE = 60  # seconds for a scheduler, or our own workers, to answer
ONE_TRY = 2.0  # seconds
REFUSED = 10  # seconds where nobody listens: it may just be started


def check_address(address: Any) -> None:
    """Raise where nobody could be asked for there. A `Client` that has found out is not to be got rid of."""
    if not isinstance(address, str):
        if hasattr(address, "scheduler_address"):  # a cluster itself
            return
        raise OptionError(f"address={address!r}: must be like 'tcp://host:8786'")
    try:
        scheme = parse_address(address)[0]
        registry.get_backend(scheme)
        if scheme in ("tcp", "tls"):
            socket.getaddrinfo(*get_address_host_port(address))
    except ValueError as error:
        raise OptionError(f"address={address!r}: must be like 'tcp://host:8786' ({error})") from None
    except socket.gaierror as error:
        if error.errno != socket.EAI_AGAIN:
            raise BackendError(f"no Dask cluster at {address}: {error}") from error


class MrpyClient(Client):
    """Comes back under another name where its connection is lost, the scheduler alive.

    There the topics of the old name are still subscribed to. So an event may come in one batch with the
    answer, which Dask takes for a breach of its protocol: it would read nothing any more, and tell nobody.
    """

    async def _reconnect(self) -> None:
        before, self.id = self.id, f"Client-mrpy-{uuid.uuid4()}"
        for topic in self._event_handlers:
            for op, name in (("unsubscribe-topic", before), ("subscribe-topic", self.id)):
                # kept until there is a connection, in front of whatever is asked for meanwhile
                self._send_to_scheduler_safe({"op": op, "topic": topic, "client": name})
        await super()._reconnect()


def is_lost(client: Any) -> bool:
    """Whether it never hears of its scheduler again. What it says of itself is not enough: where it fails to
    come back, in a way that Dask has not thought of, it says for ever that it is about to."""
    reads = getattr(client, "_handle_report_task", None)
    return client.status not in ("running", "connecting") or (reads is not None and reads.done())


def disconnect(client: Any) -> None:
    """Close it, also where it has failed: that would be raised anew."""
    reads = getattr(client, "_handle_report_task", None)
    if reads is not None and reads.done():
        client._handle_report_task = None
    client.close()


def connect(address: Any, security: Any) -> Any:
    """A client of this scheduler. One that is there may be long at something; where nobody listens that is
    said soon. The client takes as long until it gives up a scheduler that was there."""
    how: dict[str, Any] = {"security": security, "set_as_default": False}
    try:
        return MrpyClient(address, timeout=REFUSED, **how)
    except OSError:
        if _is_refused(getattr(address, "scheduler_address", address)):
            raise
    return MrpyClient(address, timeout=PATIENCE - REFUSED, **how)


def _is_refused(address: str) -> bool:
    """Whether it is known that nobody is there. Dask's own error need not say so, where all is slow."""
    if parse_address(address)[0] not in ("tcp", "tls"):
        return False
    try:
        socket.create_connection(get_address_host_port(address), ONE_TRY).close()
    except (ConnectionRefusedError, socket.gaierror):
        return True
    except OSError:
        return False
    return False
