"""The interop scenarios with nats-py. Environment: NATS_URL; RESTART, STOP and START, shell commands
for that server; NEIGHBOUR_URL, another server of its cluster."""

import asyncio
import os

import nats
from nats.errors import MaxPayloadError, NoRespondersError

from scenarios import run

URL = os.environ["NATS_URL"]
LIMIT = 65536


async def until(condition):
    """Waits for what a flush does not promise: nats-py's PING overtakes its own buffered PUBs."""
    while not condition():
        await asyncio.sleep(0.005)


async def pub_sub(nc):
    sub = await nc.subscribe("py.plain")
    await nc.publish("py.plain", b"hello")
    await nc.publish("py.plain", b"")
    assert (await sub.next_msg(5)).data == b"hello"
    assert (await sub.next_msg(5)).data == b""


async def wildcard(nc):
    star = await nc.subscribe("py.wild.*.end")
    rest = await nc.subscribe("py.wild.>")
    for subject in ("py.wild.a.end", "py.wild.a.b.end", "py.wild"):
        await nc.publish(subject, subject.encode())
    await nc.publish("py.wild.end", b"")
    await until(lambda: rest.pending_msgs == 3)
    assert (await star.next_msg(5)).subject == "py.wild.a.end"
    assert (await rest.next_msg(5)).subject == "py.wild.a.end"
    assert (await rest.next_msg(5)).subject == "py.wild.a.b.end"
    assert star.pending_msgs == 0


async def queue_group(nc):
    members = [await nc.subscribe("py.queue", queue="workers") for _ in range(3)]
    for _ in range(300):
        await nc.publish("py.queue", b"job")
    await until(lambda: sum(member.pending_msgs for member in members) >= 300)
    shares = [member.pending_msgs for member in members]
    assert sum(shares) == 300 and min(shares) > 30, shares


async def request_reply(nc):
    async def answer(msg):
        await msg.respond(msg.data.upper())

    await nc.subscribe("py.service", cb=answer)
    requests = (nc.request("py.service", b"r%d" % i, timeout=5) for i in range(50))
    replies = await asyncio.gather(*requests)
    assert [reply.data for reply in replies] == [b"R%d" % i for i in range(50)]


async def no_responders(nc):
    try:
        await nc.request("py.nobody", b"", timeout=5)
    except NoRespondersError:
        return
    raise AssertionError("a request nobody listens to was answered")


async def headers(nc):
    sub = await nc.subscribe("py.headers")
    await nc.publish("py.headers", b"body", headers={"Trace": "a b", "Empty": ""})
    msg = await sub.next_msg(5)
    assert msg.data == b"body" and msg.headers == {"Trace": "a b", "Empty": ""}, msg.headers


async def max_payload(nc):
    assert nc.max_payload == LIMIT, nc.max_payload
    sub = await nc.subscribe("py.large")
    await nc.publish("py.large", b"x" * LIMIT)
    assert len((await sub.next_msg(5)).data) == LIMIT
    try:
        await nc.publish("py.large", b"x" * (LIMIT + 1))
    except MaxPayloadError:
        return
    raise AssertionError("a payload above the limit was accepted")


async def shell(command):
    process = await asyncio.create_subprocess_shell(os.environ[command])
    assert await process.wait() == 0, command


async def reconnect(nc):
    back = asyncio.Event()

    async def reconnected():
        back.set()

    options = {"reconnect_time_wait": 0.1, "max_reconnect_attempts": -1}
    async with await nats.connect(URL, reconnected_cb=reconnected, **options) as other:
        sub = await other.subscribe("py.again")
        await other.flush(5)
        await shell("RESTART")
        await asyncio.wait_for(back.wait(), 15)
        await other.publish("py.again", b"still here")
        assert (await sub.next_msg(5)).data == b"still here"


async def drain(nc):
    other = await nats.connect(URL)
    seen = []

    async def slow(msg):
        await asyncio.sleep(0.002)
        seen.append(msg.data)

    sub = await other.subscribe("py.drain", cb=slow)
    await other.flush(5)
    for _ in range(100):
        await nc.publish("py.drain", b"last")
    await until(lambda: sub.pending_msgs + len(seen) >= 99)
    await other.drain()
    assert other.is_closed and len(seen) == 100, len(seen)


async def confirmed(other, numbers):
    """Publishes, and tells whether the server has answered what came behind: a request to nobody,
    since nats-py's PING overtakes its PUBs, and its flush asks nobody while it reconnects."""
    try:
        for number in numbers:
            await other.publish("py.count", b"%d" % number)
        await other.request("py.nobody", b"", timeout=1)
    except NoRespondersError:
        return True
    except Exception:
        return False


async def stop_in_a_cluster(nc):
    """All that the server confirmed has arrived at its neighbour, whoever came back meanwhile."""
    arrived, promised, numbers, over = set(), set(), iter(range(10**9)), False

    async def note(msg):
        arrived.add(int(msg.data))

    async def publish(other):
        while not over:
            batch = [next(numbers) for _ in range(10)]
            if await confirmed(other, batch):
                promised.update(batch)

    async with await nats.connect(os.environ["NEIGHBOUR_URL"]) as neighbour:
        await neighbour.subscribe("py.count", cb=note)
        await neighbour.flush(5)
        while not arrived:
            await confirmed(nc, [next(numbers)])
        options = {"reconnect_time_wait": 0.001, "max_reconnect_attempts": -1}
        others = [await nats.connect(URL, **options) for _ in range(8)]
        publishing = [asyncio.ensure_future(publish(other)) for other in others]
        try:
            await until(lambda: len(promised) > 2000)
            await shell("STOP")
        finally:
            over = True
        await asyncio.gather(*publishing)
        try:
            await asyncio.wait_for(until(lambda: promised <= arrived), 5)
        except asyncio.TimeoutError:
            raise AssertionError(f"{len(promised - arrived)} of {len(promised)} lost") from None
        await shell("START")
        await until(lambda: all(other.is_connected for other in others))
        for other in others:
            await other.close()


SCENARIOS = (
    pub_sub,
    wildcard,
    queue_group,
    request_reply,
    no_responders,
    headers,
    max_payload,
    reconnect,
    drain,
    stop_in_a_cluster,
)


asyncio.run(run("py", SCENARIOS, 30))
