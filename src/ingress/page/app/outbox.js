// The messages that are not settled yet. One leaves when `stored` covers it, or fails when the
// server refuses it for good. Until then it is sent again after a reconnect, after `epoch`, after
// 30 s, and when a busy server said so ("Receipts" of docs/protocol.md). It survives a reload.
// A group's next message is sent when the one before is accepted: none overtakes one that is told
// to wait, and a server that is short of time is not asked for all of them again and again.

/** How long a message waits for `stored` before it is sent again. */
const RESEND_MS = 30_000;

export class Outbox {
  #tries = new Map();
  #save;

  /**
   * `saved` is what an earlier page handed to `save`. Its accepted positions are forgotten: the
   * epochs that may have killed them were told to that page only.
   */
  constructor(saved, save) {
    this.entries = saved.map((entry) => ({ ...entry, accepted: null, due: 0 }));
    this.#save = save;
  }

  add(group, clientId, text) {
    const entry = { group, clientId, text, again: null, accepted: null, failed: null, due: 0 };
    this.entries.push(entry);
    this.#changed();
    return entry;
  }

  of(group) {
    return this.entries.filter((entry) => entry.group === group);
  }

  /** The ids died with their socket; everything is due again on the next one. */
  socketLost() {
    this.#tries.clear();
    for (const entry of this.entries) entry.due = 0;
  }

  /** Forgets positions that the rows told declare dead; those messages are due at once. */
  epochTold(group, feed) {
    for (const entry of this.of(group)) {
      if (entry.accepted && feed.isDead(entry.accepted)) entry.accepted = null;
      if (!entry.accepted) entry.due = 0;
    }
    this.#changed();
  }

  /** Forgets every position of a group, as after a reload. */
  forgetPositions(group) {
    for (const entry of this.of(group)) entry.accepted = null;
  }

  find(id) {
    return this.#tries.get(id);
  }

  accept(entry, pos) {
    entry.accepted = pos;
    this.#changed();
  }

  /** Takes out what the watermark settles. */
  settle(group, feed) {
    const settled = this.of(group).filter((e) => e.accepted && feed.settles(e.accepted));
    settled.forEach((entry) => this.remove(entry));
    return settled;
  }

  /** Refused for good: it stays to be seen, and is not sent again. */
  fail(entry, code) {
    entry.failed = code;
    this.#forget(entry);
    this.#changed();
  }

  /** The newest try that is under way: the frame for which the server closed with 1009. */
  newestTry() {
    return [...this.#tries.values()].at(-1);
  }

  /** Tries a failed one again, as a new try of the same message. */
  retry(entry) {
    entry.failed = null;
    entry.due = 0;
    this.#changed();
  }

  remove(entry) {
    this.entries = this.entries.filter((other) => other !== entry);
    this.#forget(entry);
    this.#changed();
  }

  #forget(entry) {
    for (const [id, tried] of this.#tries) if (tried === entry) this.#tries.delete(id);
  }

  /** What is to be sent now. The head known at the first try goes with every later one. */
  due(now, nextId, headOf) {
    const due = this.#next().filter((entry) => entry.due <= now);
    const frames = due.map((entry) => {
      const id = nextId();
      this.#tries.set(id, entry);
      const frame = { type: "send", id, group: entry.group, client_id: entry.clientId };
      frame.body = { kind: "text", text: entry.text };
      if (entry.again) frame.again = entry.again;
      entry.again ??= headOf(entry.group);
      entry.due = now + RESEND_MS;
      return frame;
    });
    if (frames.length > 0) this.#changed();
    return frames;
  }

  /** What is accepted and not settled, and the first message of each group that is not accepted. */
  #next() {
    const groups = new Set();
    return this.entries.filter((entry) => {
      if (entry.failed || groups.has(entry.group)) return false;
      if (!entry.accepted) groups.add(entry.group);
      return true;
    });
  }

  #changed() {
    this.#save(this.entries);
  }
}
