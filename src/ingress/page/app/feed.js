// One group as this page holds it: the last position applied, the epochs told, what waits behind
// a hole, and when to pull. The rules are "Resume and gaps" of docs/protocol.md. No I/O: moments
// are given in milliseconds, and the caller sends what is due.

/** How long a hole, or a head without its event, is waited for before it is pulled. */
const PATIENCE_MS = 500;
/** How long a page may take before it is asked for again. */
const PAGE_TIMEOUT_MS = 10_000;
/** How many events may wait behind a hole; what comes above is dropped and pulled later. */
const HELD_MAX = 2000;

/** Compares two positions `[epoch, seq]` by epoch and then by seq. */
export function compare(a, b) {
  return a[0] - b[0] || a[1] - b[1];
}

export class Feed {
  constructor(head) {
    this.last = head;
    this.head = head;
    this.stored = [0, 0];
    /** The latest epoch that any socket was told: what was told of it stays true. */
    this.known = 0;
    this.rows = new Map();
    this.held = new Map();
    this.activeAt = 0;
    this.socketLost();
  }

  /** Forgets what belongs to the socket that was lost. */
  socketLost() {
    this.told = 0;
    this.behindSince = null;
    this.pullSent = null;
    this.pullAt = null;
    this.held.clear();
  }

  /** Takes the group's line of a welcome; its rows are told before. */
  welcomed(head, mustPull, now) {
    this.#hearEpoch(head[0]);
    this.head = head;
    this.#lookBehind(now);
    if (mustPull) this.pullAt = now;
  }

  /** Takes rows that were told. Answers the first seq that was dropped, or null. */
  tell(rows, now) {
    for (const [epoch, start] of rows) {
      this.rows.set(epoch, start);
      this.#hearEpoch(epoch);
    }
    const before = this.last;
    this.last = this.clamp(this.last);
    this.head = this.clamp(this.head);
    for (const [seq, event] of this.held) if (this.isDead(event.pos)) this.held.delete(seq);
    this.#lookBehind(now);
    return this.last === before ? null : this.last[1] + 1;
  }

  #hearEpoch(epoch) {
    this.told = Math.max(this.told, epoch);
    this.known = Math.max(this.known, epoch);
  }

  /** Whether rows told declare the position dead. */
  isDead(pos) {
    return this.#cut(pos[0]) <= pos[1];
  }

  /** The nearest position at or below `pos` that the rows told leave valid. */
  clamp(pos) {
    const cut = this.#cut(pos[0]);
    return cut <= pos[1] ? [pos[0], cut - 1] : pos;
  }

  /** The lowest start of the epochs above `epoch`. */
  #cut(epoch) {
    let cut = Infinity;
    for (const [later, start] of this.rows) if (later > epoch) cut = Math.min(cut, start);
    return cut;
  }

  /** Takes a watermark; the highest counts. */
  setStored(pos) {
    if (compare(pos, this.stored) > 0) this.stored = pos;
  }

  /** Whether the watermark settles what was accepted at `pos` ("Receipts"). */
  settles(pos) {
    if (this.stored[0] > this.known) return false;
    if (pos[0] === this.stored[0]) return pos[1] <= this.stored[1];
    return pos[0] < this.stored[0] && !this.isDead(pos);
  }

  /** Takes a head told in passing. False if its epoch was not told: a fault. */
  hearHead(head, now) {
    if (head[0] > this.told) return false;
    this.#raiseHead(head, now);
    return true;
  }

  /** Pushing was interrupted: pulls at once. */
  resync(head, now) {
    this.#raiseHead(head, now);
    this.pullAt = now;
  }

  /** Takes pushed events; what can be applied goes to `applied`. False: an epoch not told. */
  push(events, now, applied) {
    for (const event of events) {
      if (event.pos[0] > this.told) return false;
      this.#take(event, applied);
      this.#raiseHead(event.pos, now);
    }
    return true;
  }

  /** Takes a page that was pulled. False: an epoch not told. */
  page(events, more, now, applied) {
    this.pullSent = null;
    const told = this.push(events, now, applied);
    if (told && more && this.behindSince !== null) this.pullAt = now;
    return told;
  }

  /** last+1 is applied, at or below last is ignored, higher waits. */
  #take(event, applied) {
    const seq = event.pos[1];
    if (this.isDead(event.pos) || seq <= this.last[1]) return;
    if (seq > this.last[1] + 1) {
      if (this.held.size < HELD_MAX) this.held.set(seq, event);
      return;
    }
    this.#apply(event, applied);
    for (let next; (next = this.held.get(this.last[1] + 1)); ) this.#apply(next, applied);
  }

  #apply(event, applied) {
    this.held.delete(event.pos[1]);
    this.last = event.pos;
    this.behindSince = null;
    applied.push(event);
  }

  #raiseHead(head, now) {
    if (!this.isDead(head) && head[1] > this.head[1]) {
      this.head = head;
      this.activeAt = now;
    }
    this.#lookBehind(now);
  }

  /** Starts the clock of a hole, or stops it when there is none. */
  #lookBehind(now) {
    if (this.head[1] <= this.last[1]) {
      this.behindSince = null;
      this.pullAt = null;
    } else {
      this.behindSince ??= now;
    }
  }

  /** A pull was refused; it is tried again at `at`. */
  pullRefused(at) {
    this.pullSent = null;
    this.pullAt = at;
  }

  /** Whether a pull is due now; if so it counts as sent. */
  mustPull(now) {
    if (this.#nextPull() > now) return false;
    this.pullSent = now;
    this.pullAt = null;
    this.behindSince = now;
    return true;
  }

  #nextPull() {
    if (this.pullSent !== null) return this.pullSent + PAGE_TIMEOUT_MS;
    if (this.pullAt !== null) return this.pullAt;
    return this.behindSince === null ? Infinity : this.behindSince + PATIENCE_MS;
  }
}
