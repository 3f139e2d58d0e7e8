"""The scenarios of streams with nats-py. Environment: NATS_URL, a server without JetStream in a
cluster that has it; READY_TIMEOUT_S, the time that the cluster may take to get ready."""

import asyncio
import os

from nats.errors import NoRespondersError, TimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.errors import NoStreamResponseError, NotFoundError, ServiceUnavailableError

from scenarios import run

READY_TIMEOUT_S = int(os.environ["READY_TIMEOUT_S"])
COUNT = 2000


async def eventually(attempt):
    """The result of `attempt`, once there is one: leaders, copies and interest take a moment, also
    among the servers with JetStream alone."""
    not_yet = (TimeoutError, NoRespondersError, NoStreamResponseError, ServiceUnavailableError)
    while True:
        try:
            return await attempt()
        except (*not_yet, AssertionError):
            await asyncio.sleep(0.05)


async def ready(nc):
    await eventually(nc.jetstream(timeout=2).account_info)


async def publish(nc):
    js = nc.jetstream()
    orders = StreamConfig(name="ORDERS", subjects=["orders.>"], num_replicas=3)
    await eventually(lambda: js.add_stream(orders))
    for number in range(1, 4):
        once = {"Nats-Msg-Id": f"{number}"}
        ack = await eventually(lambda: js.publish("orders.new", b"%d" % number, headers=once))
        assert (ack.stream, ack.seq) == ("ORDERS", number), ack
    twice = [await js.publish("orders.id", b"4", headers={"Nats-Msg-Id": "a"}) for _ in range(2)]
    assert [ack.duplicate for ack in twice] == [None, True], twice
    assert (await js.stream_info("ORDERS")).state.messages == 4
    try:
        await js.stream_info("NOWHERE")
    except NotFoundError:
        return
    raise AssertionError("a stream that is not there")


async def push(nc):
    """Each message comes on its own subject, and once: its acknowledgement arrives."""
    js = nc.jetstream()
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=1)
    sub = await js.subscribe("orders.>", durable="pushed", config=config, manual_ack=True)
    msgs = [await sub.next_msg(5) for _ in range(4)]
    assert [msg.subject for msg in msgs] == ["orders.new"] * 3 + ["orders.id"], msgs
    assert [msg.data for msg in msgs] == [b"1", b"2", b"3", b"4"], msgs
    for msg in msgs:
        await msg.ack_sync()
    try:
        again = await sub.next_msg(1.5)
    except TimeoutError:
        again = None
    assert again is None, again
    info = await js.consumer_info("ORDERS", "pushed")
    assert (info.num_ack_pending, info.num_redelivered, info.num_pending) == (0, 0, 0), info


async def push_to_group(nc):
    js = nc.jetstream()
    members = [await js.subscribe("orders.>", "workers", manual_ack=True) for _ in range(2)]
    seen = []
    while len(seen) < 4:
        for member in members:
            try:
                msg = await member.next_msg(0.25)
            except TimeoutError:
                continue
            await msg.ack_sync()
            seen.append(msg.data)
    assert sorted(seen) == [b"1", b"2", b"3", b"4"], seen


async def pull(nc):
    js = nc.jetstream()
    sub = await js.pull_subscribe("orders.>", "pulled")
    refused, kept = set(), []
    while len(kept) < 4:
        for msg in await eventually(lambda: sub.fetch(2, timeout=1)):
            if msg.data == b"2" and msg.data not in refused:
                refused.add(msg.data)
                await msg.nak()
            else:
                await msg.in_progress()
                await msg.ack_sync()
                kept.append((msg.data, msg.metadata.num_delivered))
    assert sorted(kept) == [(b"1", 1), (b"2", 2), (b"3", 1), (b"4", 1)], kept
    info = await sub.consumer_info()
    assert (info.num_ack_pending, info.num_pending) == (0, 0), info


async def ordered(nc):
    """Flow control and heartbeats: the server waits for answers on subjects of its own."""
    js = nc.jetstream()
    await js.add_stream(name="FLOW", subjects=["flow"], num_replicas=1)
    text = b"x" * 4096
    await eventually(lambda: js.publish("flow", text))
    await asyncio.gather(*(js.publish("flow", text, timeout=20) for _ in range(1, COUNT)))
    config = ConsumerConfig(flow_control=True, idle_heartbeat=0.5)
    sub = await js.subscribe("flow", ordered_consumer=True, config=config)
    for number in range(1, COUNT + 1):
        msg = await sub.next_msg(10)
        assert msg.metadata.sequence.stream == number, (msg.metadata, number)


async def direct_get(nc):
    js = nc.jetstream()
    await js.add_stream(StreamConfig(name="DIRECT", subjects=["direct.*"], allow_direct=True))
    await eventually(lambda: js.publish("direct.a", b"first"))
    await js.publish("direct.b", b"second")
    first = await eventually(lambda: js.get_msg("DIRECT", 1, direct=True))
    assert (first.data, first.subject) == (b"first", "direct.a"), first
    last = await js.get_last_msg("DIRECT", "direct.b", direct=True)
    assert (last.data, last.subject) == (b"second", "direct.b"), last


async def key_value(nc):
    kv = await nc.jetstream().create_key_value(bucket="settings", history=3, replicas=3)
    watched = await kv.watch("colour")
    assert await watched.updates(5) is None
    for value in (b"red", b"green"):
        await eventually(lambda: kv.put("colour", value))
    entry = await eventually(lambda: kv.get("colour", revision=2))
    assert entry.value == b"green", entry
    await kv.delete("colour")
    seen = [await watched.updates(5) for _ in range(3)]
    assert [entry.value for entry in seen] == [b"red", b"green", b""], seen
    assert [entry.operation for entry in seen] == [None, None, "DEL"], seen


async def objects(nc):
    store = await nc.jetstream().create_object_store("files")
    text = bytes(range(256)) * 2048
    await store.put("large", text)
    assert (await eventually(lambda: store.get("large"))).data == text


async def headers_and_at_signs(nc):
    """The server divides a reply at an `@`, which subjects may have, too."""
    js = nc.jetstream()
    await js.add_stream(name="SIGNS", subjects=["sign.>"])
    headers = {"Colour": "red"}
    await eventually(lambda: js.publish("sign.a@b.c", b"text", headers=headers))
    sub = await js.pull_subscribe("sign.>", "signs")
    msg = (await eventually(lambda: sub.fetch(1, timeout=1)))[0]
    assert (msg.subject, msg.headers["Colour"]) == ("sign.a@b.c", "red"), msg
    await msg.ack_sync()


SCENARIOS = (
    ready,
    publish,
    push,
    push_to_group,
    pull,
    ordered,
    direct_get,
    key_value,
    objects,
    headers_and_at_signs,
)


asyncio.run(run("jetstream-py", SCENARIOS, READY_TIMEOUT_S))
