// The scenarios of streams with @nats-io/jetstream, kv and obj. Environment: NATS_URL, a server
// without JetStream in a cluster that has it and is ready; JS_CLIENT, the folder of the clients.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

import { run } from "./scenarios.mjs";

const require = createRequire(`${process.env.JS_CLIENT}/`);
const { connect } = require("@nats-io/transport-node");
const { jetstream, jetstreamManager } = require("@nats-io/jetstream");
const { Kvm } = require("@nats-io/kv");
const { Objm } = require("@nats-io/obj");

const servers = process.env.NATS_URL;

// The next `count` of an iterator.
async function take(messages, count) {
  const got = [];
  for await (const one of messages) {
    got.push(one);
    if (got.length === count) break;
  }
  return got;
}

// The result of `attempt`, once there is one: copies and interest take a moment, also among the
// servers with JetStream alone.
async function eventually(attempt) {
  for (;;) {
    try {
      return await attempt();
    } catch {
      await new Promise((done) => setTimeout(done, 50));
    }
  }
}

// Without the question whether there is JetStream, which a busy leader may not answer.
const manager = (nc) => jetstreamManager(nc, { checkAPI: false });

const scenarios = {
  async publish(nc) {
    const jsm = await manager(nc);
    await jsm.streams.add({ name: "JOBS", subjects: ["jobs.>"], num_replicas: 3 });
    const js = jetstream(nc);
    for (const seq of [1, 2, 3]) {
      const publish = () => js.publish("jobs.new", `${seq}`, { msgID: `${seq}` });
      assert.equal((await eventually(publish)).seq, seq);
    }
    assert.equal((await jsm.streams.info("JOBS")).state.messages, 3);
  },

  async push(nc) {
    const jsm = await manager(nc);
    await jsm.consumers.add("JOBS", {
      durable_name: "pushed",
      deliver_subject: "jobs-for-me",
      ack_policy: "explicit",
      flow_control: true,
      idle_heartbeat: 1_000_000_000,
    });
    const consumer = await jetstream(nc).consumers.getPushConsumer("JOBS", "pushed");
    for (const message of await take(await consumer.consume(), 3)) {
      assert.equal(message.subject, "jobs.new");
      assert.ok(await message.ackAck());
    }
    const { num_ack_pending, num_redelivered } = await jsm.consumers.info("JOBS", "pushed");
    assert.deepEqual([num_ack_pending, num_redelivered], [0, 0]);
  },

  async pull(nc) {
    const jsm = await manager(nc);
    await jsm.consumers.add("JOBS", { durable_name: "pulled", ack_policy: "explicit" });
    const consumer = await jetstream(nc).consumers.get("JOBS", "pulled");
    const messages = await take(await consumer.consume({ max_messages: 2 }), 3);
    assert.deepEqual(messages.map((message) => message.string()), ["1", "2", "3"]);
    for (const message of messages) assert.ok(await message.ackAck());
    assert.equal((await jsm.consumers.info("JOBS", "pulled")).num_ack_pending, 0);
  },

  async direct_get(nc) {
    const jsm = await manager(nc);
    await jsm.streams.add({ name: "KEPT", subjects: ["kept"], allow_direct: true });
    await eventually(() => jetstream(nc).publish("kept", "text"));
    const kept = await eventually(() => jsm.direct.getMessage("KEPT", { seq: 1 }));
    assert.equal(kept.string(), "text");
  },

  async key_value(nc) {
    const kv = await new Kvm(nc).create("colours", { replicas: 3, history: 2 });
    await eventually(() => kv.put("sky", "blue"));
    await kv.put("sky", "grey");
    await eventually(async () => assert.equal((await kv.get("sky")).string(), "grey"));
    const seen = await take(await kv.watch({ key: "sky" }), 1);
    assert.equal(seen[0].string(), "grey");
  },

  async objects(nc) {
    const store = await new Objm(nc).create("pictures");
    const bytes = Uint8Array.from({ length: 400_000 }, (_, at) => at % 251);
    await store.putBlob({ name: "large" }, bytes);
    assert.deepEqual(await store.getBlob("large"), bytes);
  },
};

await run("jetstream-js", scenarios, () => connect({ servers }));
