// The client rules of docs/protocol.md ("Receipts", "Resume and gaps") as the built-in page keeps
// them, without a browser: its feed and its outbox are pure. Moments are milliseconds.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const { Feed } = await load("feed.js");
const { Outbox } = await load("outbox.js");
const { Passing } = await load("passing.js");

// The page's modules carry no package.json that calls them modules; a data URL does.
async function load(name) {
  const file = new URL(`../../src/ingress/page/app/${name}`, import.meta.url);
  return import(`data:text/javascript,${encodeURIComponent(await readFile(file, "utf8"))}`);
}

const event = (epoch, seq) => ({ pos: [epoch, seq] });

// A feed whose welcome said that the group stands at (1,10).
function feed() {
  const feed = new Feed([1, 10]);
  feed.welcomed([1, 10], false, 0);
  return feed;
}

function push(feed, ...events) {
  const applied = [];
  assert.equal(feed.push(events, 0, applied), true);
  return applied.map((event) => event.pos);
}

test("the next event is applied and an older one is ignored", () => {
  const it = feed();
  assert.deepEqual(push(it, event(1, 9), event(1, 10), event(1, 11)), [[1, 11]]);
});

test("a hole is waited for, pulled after 500 ms, and closed by the page", () => {
  const it = feed();
  assert.deepEqual(push(it, event(1, 13)), []);
  assert.equal(it.mustPull(499), false);
  assert.equal(it.mustPull(500), true);
  assert.equal(it.mustPull(501), false, "one pull at a time");
  const applied = [];
  it.page([event(1, 11), event(1, 12)], false, 600, applied);
  assert.deepEqual(applied.map((e) => e.pos[1]), [11, 12, 13]);
  assert.equal(it.mustPull(60_000), false);
});

test("more pages are pulled at once, and a lost page is asked for again", () => {
  const it = feed();
  it.resync([1, 13], 0);
  assert.equal(it.mustPull(0), true);
  it.page([event(1, 11)], true, 100, []);
  assert.equal(it.mustPull(100), true);
  assert.equal(it.mustPull(10_099), false);
  assert.equal(it.mustPull(10_100), true);
});

test("a head without its event is pulled after 500 ms", () => {
  const it = feed();
  assert.equal(it.hearHead([1, 11], 0), true);
  assert.equal(it.mustPull(499), false);
  assert.equal(it.mustPull(500), true);
});

test("an epoch drops what never happened and the new log is applied", () => {
  const it = feed();
  push(it, event(1, 11), event(1, 12), event(1, 14));
  assert.equal(it.tell([[2, 12]], 0), 12);
  assert.deepEqual(push(it, event(1, 12), event(2, 12), event(2, 13)), [[2, 12], [2, 13]]);
  assert.equal(it.mustPull(60_000), false, "the dead (1,14) is no head to catch up with");
});

test("an epoch above all that is held drops nothing", () => {
  assert.equal(feed().tell([[2, 11]], 0), null);
});

test("an event or a head of an epoch not told is a fault", () => {
  assert.equal(feed().push([event(2, 11)], 0, []), false);
  assert.equal(feed().hearHead([2, 11], 0), false);
});

test("stored settles its own epoch, and an earlier one that no row cut off, once told", () => {
  const it = feed();
  it.setStored([2, 30]);
  assert.equal(it.settles([1, 11]), false, "epoch 2 was not told");
  it.tell([[2, 12]], 0);
  assert.equal(it.settles([1, 11]), true);
  assert.equal(it.settles([1, 12]), false, "dead");
  assert.equal(it.settles([2, 30]), true);
  assert.equal(it.settles([2, 31]), false);
});

test("what is stored stays so when the link is lost, and nothing is of an epoch that was never told", () => {
  const it = feed();
  it.setStored([1, 10]);
  it.socketLost();
  assert.equal(it.settles([1, 10]), true);
  it.setStored([2, 10]);
  assert.equal(it.settles([1, 10]), false);
});

// An outbox with one message, sent once at moment 0.
function outbox() {
  const box = new Outbox([], () => {});
  const entry = box.add("g", "c", "在吗");
  const [first] = due(box, 0);
  return { box, entry, first };
}

let id = 0;
const due = (box, now) => box.due(now, () => ++id, () => [1, 10]);

test("a first try carries no again, every later one the head of the first", () => {
  const { box, first } = outbox();
  assert.equal(first.again, undefined);
  assert.deepEqual(due(box, 29_999), []);
  assert.deepEqual(due(box, 30_000)[0].again, [1, 10]);
  box.socketLost();
  const [again] = due(box, 30_001);
  assert.deepEqual([again.again, again.client_id], [[1, 10], "c"]);
});

test("the next message of a group is sent when the one before is accepted, or failed", () => {
  const { box, entry } = outbox();
  const second = box.add("g", "d", "两份牛肉面");
  box.add("g", "e", "打包");
  box.add("h", "f", "你好");
  const keys = (now) => due(box, now).map((frame) => frame.client_id);
  assert.deepEqual(keys(1), ["f"], "another group waits for nothing");
  entry.due = 800;
  assert.deepEqual(keys(799), [], "the first was told to wait, and none overtakes it");
  assert.deepEqual(keys(800), ["c"]);
  box.accept(entry, [1, 11]);
  assert.deepEqual(keys(801), ["d"]);
  box.fail(second, "muted");
  assert.deepEqual(keys(802), ["e"]);
});

test("what is stored leaves, what died is sent again at once", () => {
  const it = feed();
  const { box, entry, first } = outbox();
  assert.equal(box.find(first.id), entry);
  box.accept(entry, [1, 11]);
  it.tell([[2, 11]], 0);
  box.epochTold("g", it);
  assert.equal(entry.accepted, null);
  const [again] = due(box, 1);
  box.accept(box.find(again.id), [2, 11]);
  it.setStored([2, 11]);
  assert.deepEqual(box.settle("g", it), [entry]);
  assert.equal(box.entries.length, 0);
});

test("a refused message stays to be seen and is sent again only when asked", () => {
  const { box, entry } = outbox();
  box.fail(entry, "muted");
  box.socketLost();
  assert.deepEqual(due(box, 60_000), []);
  box.retry(entry);
  assert.equal(due(box, 60_000).length, 1);
});

test("what is not settled survives a reload, without the positions that only the old page judged", () => {
  let saved;
  const box = new Outbox([], (entries) => (saved = JSON.stringify(entries)));
  const entry = box.add("g", "c", "在吗");
  due(box, 0);
  box.accept(entry, [1, 11]);
  const next = new Outbox(JSON.parse(saved), () => {});
  assert.equal(next.entries[0].accepted, null);
  assert.deepEqual(due(next, 0)[0].again, [1, 10]);
});

test("who writes is shown for six seconds, or until the message comes", () => {
  const it = new Passing("me", "g");
  it.hear({ kind: "typing", user: "a" }, 0);
  it.hear({ kind: "typing", user: "b" }, 1_000);
  assert.deepEqual(it.typists(5_999), ["a", "b"]);
  assert.deepEqual(it.typists(6_000), ["b"]);
  it.applied([{ kind: "message", sender: "b" }]);
  assert.deepEqual(it.typists(6_000), []);
});

test("who came or went while it was asked who is here is not forgotten", () => {
  const it = new Passing("me", "g");
  assert.equal(it.mustAsk(0), true);
  assert.equal(it.mustAsk(1), false);
  it.hear({ kind: "online", user: "b" }, 1);
  it.hear({ kind: "offline", user: "a" }, 2);
  it.answered(["a", "c"]);
  assert.deepEqual([...it.online], ["me", "c", "b"]);
  it.applied([{ kind: "removed", user: "c" }]);
  assert.deepEqual([...it.online], ["me", "b"]);
});

test("who is here is asked for anew now and then, and on every new link", () => {
  const it = new Passing("me", "g");
  assert.equal(it.mustAsk(0), true);
  assert.equal(it.mustAsk(59_999), false);
  assert.equal(it.mustAsk(60_000), true);
  it.linkIsNew();
  assert.equal(it.mustAsk(60_001), true);
  it.answered(null);
  it.hear({ kind: "online", user: "a" }, 0);
  assert.equal(it.online, null, "a group in which nothing is told");
  assert.equal(new Passing("me").mustAsk(0), false, "no group is open");
});

test("the own typing is told every four seconds at most", () => {
  const it = new Passing("me", "g");
  assert.deepEqual([0, 3_999, 4_000, 4_001].map((now) => it.mustTell(now)), [true, false, true, false]);
});
