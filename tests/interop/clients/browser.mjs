// examples/browser.html in headless Chromium: two pages hear each other, also after a restart.
// Environment: WS_URL; STOP and START, the commands that end the server and start it again;
// BROWSER_CLIENT, the folder with playwright-core and client.js, the official client in one file.

import { execSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import process from "node:process";

const { WS_URL, STOP, START, BROWSER_CLIENT } = process.env;
const require = createRequire(`${BROWSER_CLIENT}/`);
const { chromium } = require("playwright-core");

const page = new URL("../../../examples/browser.html", import.meta.url);
// The page of the repository, but for the place of the client: there is no network here.
const html = readFileSync(page, "utf8").replace(/https:\/\/esm\.run\/[^"]+/, "/client.js");
const client = readFileSync(`${BROWSER_CLIENT}/client.js`);

const web = createServer((request, response) => {
  const isClient = request.url === "/client.js";
  response.setHeader("Content-Type", isClient ? "text/javascript" : "text/html");
  response.end(isClient ? client : html);
});

async function scenario(name, run) {
  try {
    await run();
    console.log(`ok browser ${name}`);
  } catch (error) {
    console.log(`FAILED browser ${name}: ${String(error.message).split("\n")[0]}`);
    process.exit(1);
  }
}

await new Promise((listening) => web.listen(0, "127.0.0.1", listening));
const url = `http://127.0.0.1:${web.address().port}/?server=${WS_URL}`;
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

const open = async () => {
  const page = await browser.newPage();
  await page.goto(url);
  await page.getByText("connected to").waitFor();
  return page;
};
const say = async (page, subject, text) => {
  await page.getByLabel("subject").fill(subject);
  await page.getByLabel("text").fill(text);
  await page.getByRole("button").click();
};

const [one, other] = [await open(), await open()];

await scenario("pub-sub", async () => {
  await say(one, "chat.hall", "hello from one");
  await other.getByText("chat.hall: hello from one").waitFor();
  await say(other, "chat.kitchen", "grüße 你好");
  await one.getByText("chat.kitchen: grüße 你好").waitFor();
});

await scenario("large", async () => {
  const text = "x".repeat(60_000);
  await say(one, "chat.large", text);
  await other.getByText(`chat.large: ${text}`).waitFor();
});

await scenario("reconnect", async () => {
  execSync(STOP, { stdio: "ignore" });
  for (const page of [one, other]) await page.getByText("connecting", { exact: true }).waitFor();
  execSync(START, { stdio: "ignore" });
  for (const page of [one, other]) await page.getByText("connected to").waitFor();
  await say(one, "chat.after", "both are back");
  await other.getByText("chat.after: both are back").waitFor();
});

await browser.close();
web.close();
