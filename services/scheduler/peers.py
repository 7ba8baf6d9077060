"""Whether the active scheduler lives: asked by a standby over core NATS.

Lives here: the question and the answer. Does not live here: taking over (`service`), which is safe whatever the
answer.
"""

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from shared.events.subjects import scheduler_ping

ANSWER_S = 1.0
TRIES = 3
"""A scheduler that is only slow shall not lose its office: silence counts after three unanswered questions."""


class NatsPeers:
    """The schedulers of one broker."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def answer_as(self, holder: str) -> None:
        """Answer pings to this scheduler for as long as the connection lives."""

        async def answer(message: Msg) -> None:
            await message.respond(b"")

        await self._client.subscribe(scheduler_ping(holder), cb=answer)

    async def alive(self, holder: str) -> bool:
        """Return whether a scheduler answers; True while the broker is away, when nobody can take over anyway."""
        for _ in range(TRIES):
            if not self._client.is_connected:
                return True
            try:
                await self._client.request(scheduler_ping(holder), b"", timeout=ANSWER_S)
            except NoRespondersError:
                return False  # its connection is gone, and with it every answer it could give
            except (NatsTimeout, ConnectionClosedError):
                continue
            return True
        return False
