"""The scenarios of a client program, one after the other, each with a connection of its own.
Environment: NATS_URL."""

import asyncio
import os
import sys

import nats


async def run(client, scenarios, seconds):
    """Runs them; ends the program at the first that fails, or takes longer than `seconds`."""
    for scenario in scenarios:
        nc = await nats.connect(os.environ["NATS_URL"])
        try:
            await asyncio.wait_for(scenario(nc), seconds)
        except Exception as e:
            print(f"FAILED {client} {scenario.__name__}: {e!r}", flush=True)
            sys.exit(1)
        print(f"ok {client} {scenario.__name__}", flush=True)
        await nc.close()
