// The client of the scene `rolling`, with @nats-io/transport-node; the head of `rolling` says what
// it prints. Environment: JS_CLIENT, the folder of the installed client.

import { createRequire } from "node:module";

const require = createRequire(`${process.env.JS_CLIENT}/`);
const { connect, errors } = require("@nats-io/transport-node");

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const isNobody = (e) => [e, e.cause].some((one) => one instanceof errors.NoRespondersError);

async function connected(who) {
  const servers = process.env[`${who.toUpperCase()}_URL`];
  const nc = await connect({ servers, reconnectTimeWait: 100, maxReconnectAttempts: -1 });
  const words = { disconnect: "down", reconnect: "up" };
  (async () => {
    for await (const { type } of nc.status()) {
      if (type in words) console.log(words[type], who);
    }
    console.log("closed", who);
  })();
  return nc;
}

const listener = await connected("listener");
listener.subscribe("rolling.js", { callback: (_, msg) => console.log("got", msg.string()) });
await listener.flush();
const publisher = await connected("publisher");
for (let number = 1; ; number++) {
  try {
    publisher.publish("rolling.js", `${number}`);
    await publisher.request("rolling.nobody", "", { timeout: 1000 });
  } catch (e) {
    if (isNobody(e)) console.log("sent", number);
  }
  await pause(10);
}
