// The WebSocket and every rule that docs/protocol.md sets for its client: hello with cursors,
// resume, gaps, epochs, receipts, reconnecting. What concerns the screen is told through `on`.

import { Feed, compare } from "./feed.js";
import { Outbox } from "./outbox.js";

const OUTBOX_KEY = "qunliu.outbox";
/** How often the clock is looked at. */
const TICK_MS = 200;
/** How long the welcome may take. */
const WELCOME_TIMEOUT_MS = 10_000;
/** The first and the longest pause before connecting again. */
const BACKOFF_MS = [300, 10_000];
/** How many heartbeats without a frame mean that the link is dead. */
const SILENT_BEATS = 2.2;
/** Bounds of the protocol: cursors of a hello, events of a page, reads of a group. */
const CURSORS_MAX = 500;
const PAGE_EVENTS = 200;
const READ_PAUSE_MS = 1_000;
/** The pause after a refusal that names none. */
const RETRY_MS = 1_000;

export class Link {
  #socket = null;
  #state = "offline";
  #until = 0;
  #heardAt = 0;
  #heartbeatMs = 25_000;
  #attempts = 0;
  #leaveAt = null;
  #returnAt = 0;
  #nextId = 1;
  #pulls = new Map();
  #reads = new Map();
  #resumed = new Set();
  #timer = null;

  /**
   * `on`: state(name), groups(lines), applied(group, events), dropped(group, start; 0 = all),
   * receipts(group), heads(list), began(group; it is told from the welcome on), joined(group),
   * gone(group), signal(frame, moment), told(refusal code).
   */
  constructor(session, on) {
    this.session = session;
    this.on = on;
    this.feeds = new Map();
    this.outbox = new Outbox(this.#savedOutbox(), (entries) => this.#saveOutbox(entries));
  }

  start() {
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    addEventListener("online", this.#hurry);
    this.#connect();
  }

  /** For good: signed out. */
  stop() {
    clearInterval(this.#timer);
    removeEventListener("online", this.#hurry);
    this.#drop();
    sessionStorage.removeItem(OUTBOX_KEY);
  }

  #hurry = () => {
    if (this.#state === "waiting") this.#until = this.#returnAt;
    this.#tick();
  };

  // ---- What the page asks for.

  send(group, text) {
    this.outbox.add(group, crypto.randomUUID(), text);
    this.on.receipts(group);
    this.#tick();
  }

  retry(entry) {
    this.outbox.retry(entry);
    this.on.receipts(entry.group);
    this.#tick();
  }

  /** Has read up to `pos`; told at most once a second for each group. */
  read(group, pos) {
    const read = this.#reads.get(group) ?? { sent: [0, 0], at: 0 };
    if (compare(pos, read.pos ?? read.sent) <= 0) return;
    this.#reads.set(group, { ...read, pos });
    this.#tick();
  }

  typing(group) {
    if (this.#state === "live") this.#write({ type: "typing", group });
  }

  renewed(token) {
    if (this.#state === "live") this.#write({ type: "token", id: this.#id(), token });
  }

  // ---- The socket.

  #connect() {
    this.#to("connecting", performance.now() + WELCOME_TIMEOUT_MS);
    const url = new URL("/v1/socket", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, "qunliu.v1.json");
    this.#socket = socket;
    socket.onopen = () => this.#hello();
    socket.onmessage = (message) => socket === this.#socket && this.#hear(message.data);
    socket.onclose = (close) => socket === this.#socket && this.#closed(close.code);
  }

  #hello() {
    const feeds = [...this.feeds].sort(([, a], [, b]) => b.activeAt - a.activeAt);
    const cursors = Object.fromEntries(feeds.slice(0, CURSORS_MAX).map(([g, f]) => [g, f.last]));
    this.#resumed = new Set(Object.keys(cursors));
    const { token, device } = this.session;
    this.#write({ type: "hello", token, device, cursors });
  }

  async #closed(code) {
    if (code === 4403) return this.session.end("unauthenticated");
    if (code === 4409) {
      this.#drop();
      this.#to("replaced", Infinity);
      return;
    }
    const tooLarge = code === 1009 && this.outbox.newestTry();
    if (tooLarge) this.outbox.fail(tooLarge, "too_large");
    this.#lost();
    if (code === 4401) {
      this.#to("waiting", Infinity);
      await this.session.renew().catch(() => {});
      if (this.session.user) this.#to("waiting", performance.now() + this.#backoff());
    }
  }

  /** The socket is useless: waits for the next one, as long as the server said if it did. */
  #lost() {
    this.#drop();
    this.#leaveAt = null;
    const now = performance.now();
    this.#to("waiting", this.#returnAt > now ? this.#returnAt : now + this.#backoff());
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#pulls.clear();
    this.outbox.socketLost();
    this.feeds.forEach((feed) => feed.socketLost());
    // A read that was not answered may not have arrived.
    this.#reads.forEach((read) => (read.pos ??= read.sent));
  }

  /** Doubles with every attempt that met no welcome, half of it random. */
  #backoff() {
    const [first, longest] = BACKOFF_MS;
    const pause = Math.min(longest, first * 2 ** Math.min(this.#attempts++, 10));
    return pause / 2 + (Math.random() * pause) / 2;
  }

  #to(state, until) {
    this.#until = until;
    if (state === this.#state) return;
    this.#state = state;
    this.on.state(state);
  }

  #write(frame) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  #id() {
    return this.#nextId++;
  }

  // ---- The clock.

  #tick() {
    const now = performance.now();
    if (this.#state === "waiting" && this.#until <= now) this.#connect();
    else if (this.#state === "connecting" && this.#until <= now) this.#lost();
    else if (this.#state === "live") this.#tickLive(now);
  }

  #tickLive(now) {
    const silent = now - this.#heardAt >= SILENT_BEATS * this.#heartbeatMs;
    if (silent || (this.#leaveAt !== null && this.#leaveAt <= now)) return this.#lost();
    const headOf = (group) => this.feeds.get(group)?.head ?? [0, 0];
    for (const frame of this.outbox.due(now, () => this.#id(), headOf)) this.#write(frame);
    this.#readDue(now);
    this.#pullDue(now);
  }

  #readDue(now) {
    for (const [group, read] of this.#reads) {
      if (!read.pos || read.at + READ_PAUSE_MS > now) continue;
      const pos = this.feeds.get(group)?.clamp(read.pos) ?? read.pos;
      const id = this.#id();
      this.#reads.set(group, { sent: pos, at: now, id });
      this.#write({ type: "read", id, group, pos });
    }
  }

  #pullDue(now) {
    for (const [group, feed] of this.feeds) {
      if (!feed.mustPull(now)) continue;
      const id = this.#id();
      this.#pulls.set(id, group);
      this.#write({ type: "pull", id, group, after: feed.last, limit: PAGE_EVENTS });
    }
  }

  // ---- Frames.

  #hear(text) {
    this.#heardAt = performance.now();
    const frame = JSON.parse(text);
    const handler = this.#handlers[frame.type];
    if (handler) handler(frame, this.#heardAt);
    this.#tick();
  }

  #handlers = {
    welcome: (frame, now) => {
      this.#heartbeatMs = frame.heartbeat_s * 1000 || this.#heartbeatMs;
      this.#attempts = 0;
      this.#to("live", Infinity);
      this.#welcomeGroups(frame.groups, now);
    },
    welcome_more: (frame, now) => this.#welcomeGroups(frame.groups, now),
    accepted: (frame) => {
      const entry = this.outbox.find(frame.id);
      if (!entry || this.feeds.get(entry.group)?.isDead(frame.pos)) return;
      this.outbox.accept(entry, frame.pos);
      this.#settle(entry.group);
    },
    stored: (frame) => {
      this.feeds.get(frame.group)?.setStored(frame.pos);
      this.#settle(frame.group);
    },
    events: (frame, now) => {
      const feed = this.feeds.get(frame.group);
      this.#apply(frame.group, (applied) => feed?.push(frame.events, now, applied));
    },
    page: (frame, now) => {
      const group = this.#pulls.get(frame.id);
      if (!group) return;
      this.#pulls.delete(frame.id);
      const feed = this.feeds.get(group);
      this.#apply(group, (applied) => feed?.page(frame.events, frame.more, now, applied));
    },
    heads: (frame, now) => {
      const heads = frame.heads.filter(([group]) => this.feeds.has(group));
      if (heads.every(([group, head]) => this.feeds.get(group).hearHead(head, now))) {
        this.on.heads(heads);
      } else {
        this.#lost();
      }
    },
    epoch: (frame, now) => {
      for (const [group, rows] of Object.entries(frame.groups)) this.#tell(group, rows, now);
    },
    joined: (frame, now) => {
      const group = frame.group.id ?? frame.group.group;
      if (!this.feeds.has(group)) this.feeds.set(group, new Feed(frame.group.head));
      this.feeds.get(group).welcomed(frame.group.head, false, now);
      this.on.joined(group);
    },
    gone: (frame) => this.#gone(frame.group),
    resync: (frame, now) => this.feeds.get(frame.group)?.resync(frame.head, now),
    signal: (frame, now) => this.feeds.has(frame.group) && this.on.signal(frame, now),
    error: (frame, now) => this.#refused(frame, now),
    goaway: (frame, now) => (this.#leaveAt = this.#returnAt = now + (frame.reconnect_after_ms ?? 0)),
  };

  #welcomeGroups(lines, now) {
    for (const line of lines) {
      if (line.verdict === "gone") {
        this.#gone(line.group);
        continue;
      }
      this.#admit(line.group, line.head);
      const feed = this.feeds.get(line.group);
      this.#tell(line.group, line.rows ?? [], now);
      feed.welcomed(line.head, line.verdict === "pull" || line.pull === true, now);
      feed.setStored(line.stored);
      this.#settle(line.group);
    }
    this.on.groups(lines.filter((line) => line.verdict !== "gone"));
  }

  /** A group without a cursor in the hello begins anew: nobody told which epochs it missed. */
  #admit(group, head) {
    const held = this.feeds.has(group);
    if (held && this.#resumed.has(group)) return;
    this.feeds.set(group, new Feed(head));
    this.outbox.forgetPositions(group);
    if (held) this.on.dropped(group, 0);
    else this.on.began(group);
  }

  /** Rows are told before anything else of their epochs. */
  #tell(group, rows, now) {
    const feed = this.feeds.get(group);
    if (!feed || rows.length === 0) return;
    const start = feed.tell(rows, now);
    this.outbox.epochTold(group, feed);
    if (start !== null) this.on.dropped(group, start);
    this.#settle(group);
  }

  #settle(group) {
    const feed = this.feeds.get(group);
    if (feed) this.outbox.settle(group, feed);
    this.on.receipts(group);
  }

  #apply(group, take) {
    const applied = [];
    const told = take(applied);
    if (applied.length > 0) this.on.applied(group, applied);
    // An epoch that was not told, or a group that was not: what came cannot be trusted.
    if (!told) this.#lost();
  }

  #gone(group) {
    this.feeds.delete(group);
    for (const entry of this.outbox.of(group)) this.outbox.remove(entry);
    this.on.gone(group);
  }

  #refused(frame, now) {
    const at = now + (frame.retry_after_ms ?? RETRY_MS);
    const expired = ["token_expired", "unauthenticated"].includes(frame.code);
    if (expired) this.session.renew().catch(() => {});
    // If the server closes now, at the hello or after too many refusals, it is to be left alone.
    if (frame.retry_after_ms) this.#returnAt = at;
    const passes = expired || ["busy", "rate_limited", "internal"].includes(frame.code);
    const pulled = this.#pulls.get(frame.id);
    const entry = this.outbox.find(frame.id);
    const read = [...this.#reads.values()].find(({ id }) => id !== undefined && id === frame.id);
    if (pulled) {
      this.#pulls.delete(frame.id);
      this.feeds.get(pulled)?.pullRefused(at);
    } else if (read && passes) {
      read.pos ??= read.sent;
      read.at = at - READ_PAUSE_MS;
    } else if (entry && passes) {
      entry.due = at;
    } else if (entry) {
      this.outbox.fail(entry, frame.code);
      this.on.receipts(entry.group);
    }
    if (!passes && !pulled) this.on.told(frame.code);
  }

  // ---- Messages that outlive a reload.

  #savedOutbox() {
    try {
      const saved = JSON.parse(sessionStorage.getItem(OUTBOX_KEY));
      return saved?.user === this.session.user.id ? saved.entries : [];
    } catch {
      return [];
    }
  }

  #saveOutbox(entries) {
    const saved = { user: this.session.user?.id, entries };
    sessionStorage.setItem(OUTBOX_KEY, JSON.stringify(saved));
  }
}
