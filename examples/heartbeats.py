#!/usr/bin/env python3
"""The parts of heartbeats.rs in Python, through nats-py (pip install nats-py).

    heartbeats.py service [--server URL] [--seconds N]    beats and answers as pricing-py
    heartbeats.py monitor [--server URL] [--seconds N]    tells who comes and who dies

A service ends after that time without a word, as if it had died. A monitor ends with 0 if it
noticed exactly the deaths of --dead INSTANCE (may be given again; without it any death will do).
"""

import argparse
import asyncio
import os
import sys
import time

import nats

BEAT = 0.1
DEAD_AFTER = 0.3


async def service(client):
    async def answer(request):
        await request.respond(b"pricing-py")

    await client.subscribe("svc.pricing", queue="pricing", cb=answer)
    await client.flush()
    await client.publish("hello.pricing", b"pricing-py")
    number = 0
    while True:
        number += 1
        await client.publish("hb.py.pricing.pricing-py", str(number).encode())
        await asyncio.sleep(BEAT)


async def monitor(client, dead):
    alive = {}

    async def hear(beat):
        instance = beat.subject.rsplit(".", 1)[1]
        if instance not in alive:
            print(f"alive    {instance}", flush=True)
            dead.discard(instance)
        alive[instance] = time.monotonic()

    await client.subscribe("hb.*.*.*", cb=hear)
    while True:
        await asyncio.sleep(BEAT / 2)
        now = time.monotonic()
        for instance in [name for name, at in alive.items() if now - at > DEAD_AFTER]:
            silence_ms = (now - alive.pop(instance)) * 1000
            print(f"dead     {instance}, silent for {silence_ms:.0f} ms", flush=True)
            dead.add(instance)


async def main(arguments):
    client = await nats.connect(arguments.server)
    dead = set()
    play = service(client) if arguments.part == "service" else monitor(client, dead)
    try:
        await asyncio.wait_for(play, arguments.seconds)
    except asyncio.TimeoutError:
        pass
    if arguments.part == "service":
        os._exit(0)
    await client.close()
    noticed = dead == set(arguments.dead) if arguments.dead else bool(dead)
    return 0 if noticed else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["service", "monitor"])
    parser.add_argument("--server", default="nats://127.0.0.1:4222")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--dead", action="append", metavar="INSTANCE")
    sys.exit(asyncio.run(main(parser.parse_args())))
