"""The client of the scene `rolling`, with nats-py; the head of `rolling` says what it prints."""

import asyncio
import itertools
import os

import nats
from nats.errors import NoRespondersError


def say(*words):
    print(*words, flush=True)


async def connect(who):
    def note(what):
        async def noted():
            say(what, who)

        return noted

    async def ignore(_):
        pass

    return await nats.connect(
        os.environ[f"{who.upper()}_URL"],
        reconnect_time_wait=0.1,
        max_reconnect_attempts=-1,
        error_cb=ignore,
        disconnected_cb=note("down"),
        reconnected_cb=note("up"),
        closed_cb=note("closed"),
    )


async def main():
    async def got(msg):
        say("got", msg.data.decode())

    listener = await connect("listener")
    await listener.subscribe("rolling.py", cb=got)
    await listener.flush()
    publisher = await connect("publisher")
    for number in itertools.count(1):
        try:
            await publisher.publish("rolling.py", b"%d" % number)
            await publisher.request("rolling.nobody", b"", timeout=1)
        except NoRespondersError:
            say("sent", number)
        except Exception:
            pass
        await asyncio.sleep(0.01)


asyncio.run(main())
