// The built-in page on a server that soon says "later": it waits as long as it is told, comes back, and loses
// nothing.
//
// scripts/web runs this on a fresh server that lets one user open a socket and send a message once a second.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { LI_LEI, makeGroup, openBrowser, openGroup, openPage, register, seesStored, userId } from "./person.mjs";

let browser, lilei;
const complaints = [];

before(async () => {
  browser = await openBrowser();
  lilei = await openPage(browser, complaints, takeNotes);
  await register(lilei, LI_LEI);
  await userId(lilei);
  await makeGroup(lilei);
  await openGroup(lilei);
});

after(() => browser?.close());

// Runs in the page: keeps its sockets, each with when it was opened, whether it was welcomed, and what it was
// refused.
function takeNotes() {
  window.sockets = [];
  window.WebSocket = class extends WebSocket {
    constructor(...address) {
      super(...address);
      this.openedAt = performance.now();
      this.refusals = [];
      window.sockets.push(this);
      this.addEventListener("message", ({ data }) => {
        const { type, code, retry_after_ms: wait } = JSON.parse(data);
        if (type === "welcome") this.isWelcomed = true;
        if (type === "error") this.refusals.push({ code, wait, at: performance.now() });
      });
    }
  };
}

test("messages that are too many for a while are sent later, each once and in order", async () => {
  const texts = Array.from({ length: 8 }, (_, number) => `第 ${number} 份牛肉面`);
  await lilei.evaluate(sayAtOnce, texts);
  for (const text of texts) await seesStored(lilei, text);
  assert.deepEqual(await lilei.locator("[data-testid=message] .text").allTextContents(), texts);
  assert.equal(await lilei.getByTestId("error").textContent(), "", "nothing to complain of");

  const refusals = await lilei.evaluate(() => window.sockets.flatMap((socket) => socket.refusals));
  assert.ok(refusals.length > 0, "they were too many");
  assert.ok(refusals.length <= texts.length, `each is refused once at most: ${refusals.length}`);
  assert.ok(refusals.every(({ code }) => code === "rate_limited"), JSON.stringify(refusals));
});

test("a page whose hello is refused says the next when it is told to, and not before", async () => {
  await returnsWhenTold(await lilei.evaluate(breakUntilRefused));
});

test("a page that was refused too often is away as long as it is told", async () => {
  await returnsWhenTold(await lilei.evaluate(askTooOften));
});

test("the page logged no error", () => {
  assert.deepEqual(complaints, []);
});

async function returnsWhenTold({ refusal, openedAt }) {
  assert.equal(refusal.code, "rate_limited");
  const away = openedAt - refusal.at;
  assert.ok(away >= refusal.wait, `away for ${away} ms, told ${refusal.wait} ms`);
  await lilei.locator("#state[data-state=live]").waitFor();
}

// ---- In the page.

// Faster than anybody types, whatever the machine is busy with.
function sayAtOnce(texts) {
  const form = document.querySelector("#say");
  for (const text of texts) {
    form.querySelector("textarea").value = text;
    form.requestSubmit();
  }
}

// Breaks each socket that is welcomed until one is refused; answers the refusal, and when the next was opened.
async function breakUntilRefused() {
  const { sockets } = window;
  const first = sockets.length;
  const refused = () => sockets.findIndex((socket, index) => index >= first && socket.refusals.length > 0);
  while (refused() < 0 || refused() === sockets.length - 1) {
    if (sockets.at(-1).isWelcomed) sockets.at(-1).close();
    await new Promise((done) => setTimeout(done, 10));
  }
  return { refusal: sockets[refused()].refusals[0], openedAt: sockets[refused() + 1].openedAt };
}

// Asks on the page's socket until the server closes it; answers the last refusal, and when the next was opened.
async function askTooOften() {
  const { sockets } = window;
  const socket = sockets.at(-1);
  const frame = JSON.stringify({ type: "follow", id: 2 ** 53 - 1, groups: {}, level: "full" });
  for (let asked = 0; asked < 110; asked++) socket.send(frame);
  while (sockets.at(-1) === socket) await new Promise((done) => setTimeout(done, 10));
  return { refusal: socket.refusals.at(-1), openedAt: sockets.at(-1).openedAt };
}
