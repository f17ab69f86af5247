// The screen of whoever is signed in: the link, the list of groups and the open one, and what
// goes on between them.

import { Chat } from "./chat.js";
import { Groups } from "./groups.js";
import { Link } from "./link.js";
import { Passing } from "./passing.js";
import { People } from "./people.js";
import { complain, on, onSubmit, screen, setText } from "./screen.js";
import { refusal, word } from "./words.js";

/** How often it is looked who still writes, and whether to ask who is here. */
const PASSING_MS = 1_000;
/** How many who are here are named. */
const NAMED_MAX = 5;

export class House {
  #shown = () => this.chat.markRead();
  #passing;
  #timer = null;
  #mustLoad = false;

  constructor(session) {
    this.session = session;
    this.#passing = new Passing(session.user.id);
    this.people = new People(session, () => this.draw());
    this.link = new Link(session, this.#linkHooks());
    this.groups = new Groups(session, screen, {
      open: (id) => this.open(id),
      name: (user) => this.people.name(user),
      isRead: (id) => id === this.chat.group && this.chat.isRead(),
    });
    this.chat = new Chat(session, screen, {
      name: (user) => this.people.name(user),
      outbox: () => this.link.outbox.of(this.chat.group),
      feed: () => this.link.feeds.get(this.chat.group),
      read: (pos) => this.#read(pos),
      failed: (error) => complain(refusal(error)),
      retry: (entry) => this.link.retry(entry),
    });
  }

  enter() {
    this.#showMe();
    this.#listen();
    this.link.start();
    this.#load();
    this.#timer = setInterval(() => this.#tick(), PASSING_MS);
    addEventListener("focus", this.#shown);
    document.addEventListener("visibilitychange", this.#shown);
  }

  leave() {
    clearInterval(this.#timer);
    this.link.stop();
    removeEventListener("focus", this.#shown);
    document.removeEventListener("visibilitychange", this.#shown);
  }

  #showMe() {
    const { id, display_name: name } = this.session.user;
    screen.querySelector("#me").dataset.user = id;
    screen.querySelector("#my-name").textContent = name;
    screen.querySelector("#my-id").textContent = id;
  }

  async #load() {
    this.#mustLoad = false;
    try {
      const [me] = await Promise.all([this.session.call("GET", "/v1/me"), this.groups.load()]);
      // Only staff of a merchant may create groups.
      this.groups.staff = (me.merchants ?? [null]).length > 0;
      screen.querySelector("#group-new").hidden = !this.groups.staff;
      this.groups.draw();
    } catch (error) {
      this.#mustLoad = true;
      complain(refusal(error));
    }
  }

  #listen() {
    screen.querySelector("#group-new").hidden = true;
    on("#me", "click", () => this.#copyId());
    on("#log-out", "click", () => {
      this.leave();
      this.session.logOut();
    });
    on("#back", "click", () => this.open(null));
    onSubmit("#group-new", "create", async ({ name }, form) => {
      const group = await this.session.call("POST", "/v1/groups", { name });
      form.reset();
      this.groups.add(group);
      await this.open(group.id);
    });
    onSubmit("#member-add", "add", async ({ id }, form) => {
      const body = { users: [id.trim()], role: "member" };
      await this.session.call("POST", `/v1/groups/${this.chat.group}/members`, body);
      form.reset();
    });
    on("#say", "submit", (event) => {
      event.preventDefault();
      this.#say();
    });
    on("#say textarea", "input", ({ target }) => {
      if (target.value.trim() && this.#passing.mustTell(performance.now())) {
        this.link.typing(this.chat.group);
      }
    });
    on("#say textarea", "keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#say();
    });
  }

  async #copyId() {
    const line = screen.querySelector("#my-id");
    // Without the permission to copy, the id can still be selected by hand.
    await navigator.clipboard?.writeText(this.session.user.id).catch(() => {});
    line.textContent = word("copied");
    setTimeout(() => (line.textContent = this.session.user?.id ?? ""), 1_500);
  }

  #say() {
    const composer = screen.querySelector("#say textarea");
    const text = composer.value;
    if (!text.trim() || !this.chat.group) return;
    composer.value = "";
    this.chat.atEnd = true;
    this.link.send(this.chat.group, text);
  }

  async open(id) {
    if (id !== null && id === this.chat.group) return;
    this.groups.open = id;
    this.#passing = new Passing(this.session.user.id, id);
    this.#drawRoom(id);
    this.groups.draw();
    const opened = this.chat.open(id);
    this.#tick();
    if (id && matchMedia("(min-width: 760px)").matches) {
      screen.querySelector("#say textarea").focus();
    }
    await opened;
  }

  #drawRoom(id) {
    const group = this.groups.get(id);
    screen.querySelector(".house").classList.toggle("open", id !== null);
    screen.querySelector("#no-chat").hidden = id !== null;
    screen.querySelector("#room").hidden = id === null;
    if (!group) return;
    screen.querySelector("#room-name").textContent = group.name;
    const members = Number.isFinite(group.members) ? word("members", group.members) : "";
    screen.querySelector("#room-members").textContent = members;
    screen.querySelector("#member-add").hidden = !["owner", "admin"].includes(group.role);
  }

  // ---- Who is here, and who writes.

  #tick() {
    if (this.state === "live" && this.#passing.mustAsk(performance.now())) this.#askWhoIsHere();
    this.#drawPassing();
  }

  async #askWhoIsHere() {
    const passing = this.#passing;
    try {
      const { online } = await this.session.call("GET", `/v1/groups/${passing.group}/presence`);
      passing.answered(online);
    } catch {
      // It is asked again; until then the page knows what it knew.
    }
    this.#drawPassing();
  }

  #drawPassing() {
    const name = (user) => this.people.name(user);
    // Without a link nobody tells who went.
    const online = this.state === "live" ? [...(this.#passing.online ?? [])] : [];
    const named = online.slice(0, NAMED_MAX).map(name).join(word("name_gap"));
    screen.querySelector("#present").textContent = online.length > 0 ? word("online", online.length, named) : "";
    const typists = this.#passing.typists(performance.now());
    const told = typists.length > 1 ? "typing_more" : "typing_one";
    const text = typists.length > 0 ? word(told, name(typists[0]), typists.length) : "";
    setText(screen.querySelector("#typing"), text);
  }

  #read(pos) {
    const { group } = this.chat;
    this.link.read(group, pos);
    const known = this.groups.get(group);
    if (known?.unread > 0 || known?.mentions > 0) this.groups.setCounts([[group, 0, 0]]);
  }

  #linkHooks() {
    return {
      state: (state) => this.#drawState(state),
      groups: (lines) => this.#welcomed(lines),
      applied: (group, events) => {
        this.groups.applied(group, events);
        if (group !== this.chat.group) return;
        this.chat.applied(events);
        this.#passing.applied(events);
        this.#drawPassing();
        this.#drawRoom(group);
      },
      dropped: (group, start) => {
        this.groups.dropped(group, start);
        if (group === this.chat.group) this.chat.dropped(start);
      },
      receipts: (group) => group === this.chat.group && this.chat.draw(),
      heads: (heads) => this.groups.setCounts(heads.map(([id, , unread, mentions]) => [id, unread, mentions])),
      began: (group) => group === this.chat.group && this.chat.dropped(0),
      joined: (group) => this.groups.refresh(group).catch((error) => complain(refusal(error))),
      gone: (group) => {
        const { name } = this.groups.get(group) ?? {};
        if (name) complain(word("gone", name));
        this.groups.remove(group);
        if (group === this.chat.group) this.open(null);
      },
      signal: (signal, now) => {
        if (signal.group !== this.chat.group) return;
        this.#passing.hear(signal, now);
        this.#drawPassing();
      },
      told: (code) => complain(refusal({ code })),
    };
  }

  /** Counts of known groups. One that is new here changes the list itself; a list that did not come is asked for again. */
  #welcomed(lines) {
    this.groups.setCounts(lines.map((line) => [line.group, line.unread, line.mentions]));
    if (this.#mustLoad || lines.some((line) => !this.groups.get(line.group))) this.#load();
  }

  #drawState(state) {
    if (state === "live" && this.state !== "live") this.#passing.linkIsNew();
    this.state = state;
    this.#drawPassing();
    for (const line of screen.querySelectorAll(".state")) {
      line.dataset.state = state;
      setText(line, word(`state_${state}`));
    }
  }

  draw() {
    if (this.state) this.#drawState(this.state);
    this.groups.draw();
    this.#drawRoom(this.chat.group);
    this.#drawPassing();
    this.chat.draw();
  }
}
