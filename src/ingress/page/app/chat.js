// The open group: its messages with the own ones that are on their way, paging back on scroll,
// and the mark up to where it was read.

import { setText } from "./screen.js";
import { moment, word } from "./words.js";

/** How many messages are asked for at once. */
const PAGE = 50;
/** How near to the top older messages are asked for, and how near to the end counts as there. */
const NEAR_TOP_PX = 300;
const NEAR_END_PX = 60;
/** The pause after a page that could not be loaded. */
const RETRY_MS = 3_000;
/** The pause before it is asked how much of the log is stored. */
const ASK_STORED_MS = 1_000;

export class Chat {
  #events = new Map();
  #items = new Map();
  #previous = null;
  #loading = null;
  #isLoaded = false;
  #planned = false;
  #asking = null;

  /** `hooks`: name(user), outbox() of the open group, feed(), read(pos), failed(error), retry(entry). */
  constructor(session, root, hooks) {
    this.session = session;
    this.self = session.user.id;
    this.hooks = hooks;
    this.scroll = root.querySelector("#scroll");
    this.list = root.querySelector("#messages");
    this.edge = root.querySelector("#edge");
    this.group = null;
    this.scroll.addEventListener("scroll", () => this.#scrolled());
    new ResizeObserver(() => this.#stayAtEnd()).observe(this.scroll);
    this.atEnd = true;
  }

  /** Shows a group, or none. */
  async open(group) {
    this.group = group;
    this.#forget();
    if (group) await this.#loadNewest();
  }

  #forget() {
    this.#events.clear();
    this.#items.clear();
    this.list.replaceChildren();
    this.#previous = null;
    this.#loading = null;
    this.#isLoaded = false;
    this.atEnd = true;
    this.edge.textContent = word("loading");
  }

  /** The newest page, and then whatever came between it and the live feed. */
  async #loadNewest() {
    const { group } = this;
    const page = await this.#page("");
    if (this.group !== group || !page) return;
    this.#isLoaded = true;
    this.#previous = page.previous;
    this.#keep(page);
    let next = page.next;
    while (next && this.group === group) {
      const later = await this.#page(`&after=${next}`);
      if (!later) break;
      if (this.group === group) this.#keep(later);
      next = later.next === next ? null : later.next;
    }
  }

  async #loadOlder() {
    const { group } = this;
    const page = await this.#page(`&before=${this.#previous}`);
    if (this.group !== group || !page) return;
    this.#previous = page.previous;
    this.#keep(page);
  }

  /** What could not be loaded is asked for again. */
  #loadAgain(group) {
    if (this.group !== group || this.#loading) return;
    if (this.#isLoaded) this.#fill();
    else this.#loadNewest();
  }

  /** One page; only one is under way at a time. */
  async #page(bound) {
    const { group } = this;
    const path = `/v1/groups/${group}/messages?limit=${PAGE}${bound}`;
    const loading = this.session.call("GET", path);
    this.#loading = loading;
    try {
      return await loading;
    } catch (error) {
      this.hooks.failed(error);
      setTimeout(() => this.#loadAgain(group), RETRY_MS);
      return null;
    } finally {
      if (this.#loading === loading) this.#loading = null;
    }
  }

  #keep(page) {
    const feed = this.hooks.feed();
    if (page.stored) feed?.setStored(page.stored);
    for (const event of page.items) {
      if (!feed?.isDead(event.pos)) this.#events.set(event.pos[1], event);
    }
    this.draw();
  }

  /** Takes events that were applied to the open group. */
  applied(events) {
    for (const event of events) this.#events.set(event.pos[1], event);
    this.draw();
  }

  /** Events from `start` on never happened; 0 = ask for everything again. */
  dropped(start) {
    if (start === 0) return this.open(this.group);
    for (const seq of this.#events.keys()) if (seq >= start) this.#events.delete(seq);
    this.draw();
  }

  /** Draws at the next frame; many changes are drawn at once. */
  draw() {
    if (this.#planned) return;
    this.#planned = true;
    requestAnimationFrame(() => {
      this.#planned = false;
      this.#draw();
    });
    // A hidden tab draws no frames, and must still keep its list.
    if (document.hidden) setTimeout(() => this.#planned && ((this.#planned = false), this.#draw()), 0);
  }

  #draw() {
    const anchor = this.atEnd ? undefined : this.#topmost();
    const anchorTop = anchor?.offsetTop;
    const shown = new Map();
    for (const [key, entry] of this.#sorted()) shown.set(key, this.#item(key, entry));
    for (const [key, item] of this.#items) if (!shown.has(key)) item.remove();
    this.#items = shown;
    let place = this.list.firstChild;
    for (const item of shown.values()) {
      if (item === place) place = place.nextSibling;
      else this.list.insertBefore(item, place);
    }
    this.edge.textContent = this.#edgeWord();
    // The end stays in view for who is there; for all others what they read stays where it is.
    if (this.atEnd) this.scroll.scrollTop = this.scroll.scrollHeight;
    else if (anchor?.isConnected) this.scroll.scrollTop += anchor.offsetTop - anchorTop;
    this.markRead();
    this.#fill();
    this.#askStored();
  }

  /** The first item of which something is in view. */
  #topmost() {
    const { scrollTop } = this.scroll;
    return [...this.#items.values()].find((item) => item.offsetTop + item.offsetHeight > scrollTop);
  }

  #edgeWord() {
    return word(this.#isLoaded && !this.#previous ? "beginning" : "loading");
  }

  /** Events by position, then what is on its way; an own message keeps its key through both. */
  #sorted() {
    const events = [...this.#events.values()].sort((a, b) => a.pos[1] - b.pos[1]);
    const known = new Set(events.map((event) => event.client_id));
    const drawn = events.filter((event) => event.kind === "message" || NOTICES.has(event.kind));
    const waiting = this.hooks.outbox().filter((entry) => !known.has(entry.clientId));
    return [
      ...drawn.map((event) => [`${event.sender}.${event.client_id}`, { event }]),
      ...waiting.map((entry) => [`${this.self}.${entry.clientId}`, { entry }]),
    ];
  }

  #item(key, { event, entry }) {
    if (event && event.kind !== "message") return this.#notice(key, event);
    const own = entry !== undefined || event.sender === this.self;
    const item = this.#items.get(key) ?? makeMessage(own);
    const [from, text, foot] = item.children;
    setText(from, own ? word("you") : this.hooks.name(event.sender));
    setText(text, entry ? entry.text : bodyText(event));
    text.classList.toggle("gone", event?.recalled === true);
    const receipt = own ? this.#receipt(event, entry) : null;
    if (receipt) item.dataset.receipt = receipt;
    this.#foot(foot, event, entry, receipt);
    return item;
  }

  #notice(key, event) {
    const item = this.#items.get(key) ?? document.createElement("li");
    item.className = "notice";
    item.textContent = word(noticeWord(event), this.hooks.name(event.user ?? event.sender), event.name);
    return item;
  }

  #receipt(event, entry) {
    if (entry?.failed) return "failed";
    if (entry) return entry.accepted ? "accepted" : "sending";
    return this.hooks.feed()?.settles(event.pos) ? "stored" : "accepted";
  }

  /**
   * The server tells `stored` to the socket that sent. What this person sent from another device
   * came as an event alone, so it is asked how much is stored, until that covers it.
   */
  #askStored() {
    if (this.#asking || !this.#awaitsStored()) return;
    const { group } = this;
    this.#asking = setTimeout(async () => {
      try {
        const { stored } = await this.session.call("GET", `/v1/groups/${group}`);
        if (this.group === group) this.hooks.feed()?.setStored(stored);
        this.draw();
      } catch {
        // It is asked again when something else is drawn, as after a reconnect.
      } finally {
        this.#asking = null;
      }
    }, ASK_STORED_MS);
  }

  /** Whether a message of another device is not known to be stored; the welcome tells it first. */
  #awaitsStored() {
    const feed = this.hooks.feed();
    if (!feed) return false;
    const sentHere = new Set(this.hooks.outbox().map((entry) => entry.clientId));
    return [...this.#events.values()].some(({ kind, sender, client_id: key, pos }) =>
      kind === "message" && sender === this.self && !sentHere.has(key) && !feed.settles(pos));
  }

  #foot(foot, event, entry, receipt) {
    const [time, told, retry] = foot.children;
    setText(time, event ? moment(event.at, true) : "");
    setText(told, receipt ? word(`receipt_${receipt}`) : "");
    setText(retry, entry?.failed ? word("retry") : "");
    retry.onclick = () => this.hooks.retry(entry);
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroll;
    this.atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    this.markRead();
    this.#fill();
  }

  #stayAtEnd() {
    if (this.atEnd) this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  /** Older messages are asked for when the top is near, until there are none. */
  #fill() {
    if (this.#loading || !this.#previous || this.scroll.scrollTop > NEAR_TOP_PX) return;
    this.#loadOlder();
  }

  /** What is seen at the end of the open group is read. */
  isRead() {
    return this.group !== null && this.atEnd && !document.hidden && document.hasFocus();
  }

  markRead() {
    const newest = Math.max(...this.#events.keys());
    if (this.isRead() && Number.isFinite(newest)) this.hooks.read(this.#events.get(newest).pos);
  }
}

/** Kinds that are told in a line of their own. */
const NOTICES = new Set(["joined", "left", "removed", "role", "settings", "lost"]);

function noticeWord({ kind, name }) {
  return kind === "settings" && name ? "renamed" : kind;
}

function makeMessage(own) {
  const item = document.createElement("li");
  item.className = own ? "message own" : "message";
  item.dataset.testid = "message";
  for (const name of ["from", "text", "foot"]) {
    const part = document.createElement("div");
    part.className = name;
    item.append(part);
  }
  const retry = document.createElement("button");
  retry.type = "button";
  retry.className = "quiet";
  item.lastChild.append(document.createElement("time"), document.createElement("span"), retry);
  return item;
}

function bodyText(event) {
  if (event.recalled) return word("recalled");
  return event.body?.text ?? word("unknown_kind");
}
