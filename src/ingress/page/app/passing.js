// Who is here and who writes, in the open group ("Signals" of docs/protocol.md). No I/O: moments are
// given in milliseconds, and the caller asks who is here.

/** How long somebody writes after the last word of it. */
const TYPING_MS = 6_000;
/** How often the own typing is told; a little more seldom than the server lets pass. */
const TYPING_PACE_MS = 4_000;
/** How often it is asked anew who is here, for a signal may have been dropped. */
const ASK_MS = 60_000;

export class Passing {
  /** Shows another group, or none, to `self`, who is here whatever is told. */
  constructor(self, group = null) {
    this.self = self;
    this.group = group;
    /** Null as long as it is not known, or not told in a group of this size. */
    this.online = null;
    this.typing = new Map();
    this.askAt = group === null ? Infinity : 0;
    this.tellAt = 0;
    this.heard = [];
  }

  /** Whether it is to be asked now who is here; if so it counts as asked. */
  mustAsk(now) {
    if (now < this.askAt) return false;
    this.askAt = now + ASK_MS;
    this.heard = [];
    return true;
  }

  /** The link is new: what was told in between was missed. */
  linkIsNew() {
    if (this.group !== null) this.askAt = 0;
    this.typing.clear();
  }

  /** Takes the answer, and again what was heard while it was on its way. */
  answered(online) {
    this.online = online === null ? null : new Set([this.self, ...online]);
    for (const signal of this.heard) this.#move(signal);
    this.heard = [];
  }

  /** Takes a signal of the open group. */
  hear(signal, now) {
    if (signal.kind === "typing") this.typing.set(signal.user, now + TYPING_MS);
    else this.heard.push(signal);
    this.#move(signal);
  }

  #move({ kind, user }) {
    if (kind === "online") this.online?.add(user);
    if (kind === "offline") {
      this.online?.delete(user);
      this.typing.delete(user);
    }
  }

  /** Takes events of the open group: who said something has written it, who left is not here. */
  applied(events) {
    for (const { kind, sender, user } of events) {
      if (kind === "message") this.typing.delete(sender);
      if (kind === "left" || kind === "removed") this.#move({ kind: "offline", user });
    }
  }

  /** Who writes now. */
  typists(now) {
    return [...this.typing].filter(([, until]) => until > now).map(([user]) => user);
  }

  /** Whether the own typing is to be told now; if so it counts as told. */
  mustTell(now) {
    if (this.group === null || now < this.tellAt) return false;
    this.tellAt = now + TYPING_PACE_MS;
    return true;
  }
}
