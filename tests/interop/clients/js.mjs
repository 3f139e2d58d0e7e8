// The interop scenarios with @nats-io/transport-node. Environment: NATS_URL; RESTART, STOP and START,
// shell commands for that server; NEIGHBOUR_URL, another server of its cluster; JS_CLIENT, the
// folder of the installed client.

import assert from "node:assert/strict";
import { exec } from "node:child_process";
import { createRequire } from "node:module";
import { promisify } from "node:util";

import { run } from "./scenarios.mjs";

const require = createRequire(`${process.env.JS_CLIENT}/`);
const { connect, createInbox, errors, headers: newHeaders } = require("@nats-io/transport-node");

const servers = process.env.NATS_URL;
const limit = 65536;
const text = (n, byte = "x") => byte.repeat(n);
const shell = (command) => promisify(exec)(process.env[command]);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// The next `count` messages of a subscription, or an error after five seconds.
async function take(sub, count) {
  const timer = setTimeout(() => sub.unsubscribe(), 5000);
  const got = [];
  for await (const msg of sub) {
    got.push(msg);
    if (got.length === count) break;
  }
  clearTimeout(timer);
  assert.equal(got.length, count, "messages before the timeout");
  return got;
}

const scenarios = {
  async pub_sub(nc) {
    const sub = nc.subscribe("js.plain");
    nc.publish("js.plain", "hello");
    nc.publish("js.plain");
    const [first, second] = await take(sub, 2);
    assert.equal(first.string(), "hello");
    assert.equal(second.data.length, 0);
  },

  async wildcard(nc) {
    const star = nc.subscribe("js.wild.*.end");
    const rest = nc.subscribe("js.wild.>");
    for (const subject of ["js.wild.a.end", "js.wild.a.b.end", "js.wild"]) nc.publish(subject);
    await nc.flush();
    assert.deepEqual([star.getPending(), rest.getPending()], [1, 2]);
    assert.equal((await take(star, 1))[0].subject, "js.wild.a.end");
    assert.deepEqual((await take(rest, 2)).map((m) => m.subject), [
      "js.wild.a.end",
      "js.wild.a.b.end",
    ]);
  },

  async queue_group(nc) {
    const members = [1, 2, 3].map(() => nc.subscribe("js.queue", { queue: "workers" }));
    for (let i = 0; i < 300; i++) nc.publish("js.queue");
    await nc.flush();
    const shares = members.map((m) => m.getPending());
    assert.equal(shares.reduce((a, b) => a + b), 300);
    assert.ok(Math.min(...shares) > 30, `shares ${shares}`);
  },

  async request_reply(nc) {
    nc.subscribe("js.service", { callback: (_, m) => m.respond(m.string().toUpperCase()) });
    const names = Array.from({ length: 50 }, (_, i) => `r${i}`);
    const replies = await Promise.all(
      names.map((n) => nc.request("js.service", n, { timeout: 5000 })),
    );
    assert.deepEqual(replies.map((m) => m.string()), names.map((n) => n.toUpperCase()));
    // And the old way: a subscription for each request.
    const alone = await nc.request("js.service", "alone", {
      timeout: 5000,
      noMux: true,
      reply: createInbox(),
    });
    assert.equal(alone.string(), "ALONE");
  },

  async no_responders(nc) {
    await assert.rejects(
      nc.request("js.nobody", "", { timeout: 5000 }),
      (e) => e instanceof errors.NoRespondersError || e.cause instanceof errors.NoRespondersError,
    );
  },

  async headers(nc) {
    const sub = nc.subscribe("js.headers");
    const headers = newHeaders();
    headers.append("Trace", "a b");
    headers.append("Trace", "c");
    nc.publish("js.headers", "body", { headers });
    const [msg] = await take(sub, 1);
    assert.equal(msg.string(), "body");
    assert.deepEqual(msg.headers.values("Trace"), ["a b", "c"]);
  },

  async max_payload(nc) {
    assert.equal(nc.info.max_payload, limit);
    const sub = nc.subscribe("js.large");
    nc.publish("js.large", text(limit));
    assert.equal((await take(sub, 1))[0].data.length, limit);
    assert.throws(() => nc.publish("js.large", text(limit + 1)), errors.InvalidArgumentError);
  },

  async reconnect() {
    const nc = await connect({ servers, reconnectTimeWait: 100, maxReconnectAttempts: -1 });
    const back = (async () => {
      for await (const status of nc.status()) if (status.type === "reconnect") return;
    })();
    const sub = nc.subscribe("js.again");
    await nc.flush();
    await shell("RESTART");
    await back;
    nc.publish("js.again", "still here");
    assert.equal((await take(sub, 1))[0].string(), "still here");
    await nc.close();
  },

  async drain(nc) {
    const other = await connect({ servers });
    const sub = other.subscribe("js.drain");
    await other.flush();
    const seen = (async () => {
      let count = 0;
      for await (const _ of sub) count++;
      return count;
    })();
    for (let i = 0; i < 100; i++) nc.publish("js.drain");
    await nc.flush();
    await other.drain();
    assert.ok(other.isClosed());
    assert.equal(await seen, 100);
  },

  // All that the server confirmed has arrived at its neighbour, whoever came back meanwhile.
  async stop_in_a_cluster(nc) {
    const neighbour = await connect({ servers: process.env.NEIGHBOUR_URL });
    const [arrived, promised] = [new Set(), []];
    let [number, over] = [0, false];
    neighbour.subscribe("js.count", { callback: (_, m) => arrived.add(m.string()) });
    await neighbour.flush();
    for (; arrived.size === 0; await pause(10)) nc.publish("js.count", "first");

    const options = { servers, reconnectTimeWait: 1, reconnectJitter: 0, maxReconnectAttempts: -1 };
    const others = await Promise.all(Array.from({ length: 8 }, () => connect(options)));
    const publish = async (other) => {
      while (!over) {
        const batch = Array.from({ length: 50 }, () => `${number++}`);
        batch.forEach((n) => other.publish("js.count", n));
        const answered = other.flush().then(() => true, () => false);
        if (await Promise.race([answered, pause(1000)])) promised.push(...batch);
      }
    };
    const publishing = others.map(publish);
    while (promised.length < 20_000) await pause(10);
    await shell("STOP");
    const confirmed = [...promised];
    const lost = () => confirmed.filter((n) => !arrived.has(n)).length;
    for (let i = 0; i < 500 && lost() > 0; i++) await pause(10);
    assert.equal(lost(), 0, `of ${confirmed.length} confirmed`);

    // Nobody is left hanging on the server that has ended.
    await shell("START");
    over = true;
    await Promise.all(publishing);
    await Promise.all(others.map((other) => other.flush()));
    await Promise.all([...others, neighbour].map((client) => client.close()));
  },
};

await run("js", scenarios, () => connect({ servers }));
