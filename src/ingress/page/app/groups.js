// The list of one's groups: newest activity first, with the last message and what is unread.

import { compare } from "./feed.js";
import { setText } from "./screen.js";
import { moment, word } from "./words.js";

export class Groups {
  #groups = new Map();
  #items = new Map();

  /** `hooks`: open(id), name(user), isRead(id) = whether what comes there is seen at once. */
  constructor(session, root, hooks) {
    this.session = session;
    this.list = root.querySelector("#groups");
    this.empty = root.querySelector("#no-groups");
    this.hooks = hooks;
    this.staff = false;
    this.open = null;
  }

  get(id) {
    return this.#groups.get(id);
  }

  /** Asks for the whole list. */
  async load() {
    const groups = new Map();
    let cursor = null;
    do {
      const query = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const page = await this.session.call("GET", `/v1/groups?limit=50${query}`);
      for (const group of page.items) groups.set(group.id, group);
      cursor = page.next;
    } while (cursor);
    this.#groups = groups;
    this.draw();
  }

  /** Asks for one group that is new here or changed. */
  async refresh(id) {
    this.#groups.set(id, await this.session.call("GET", `/v1/groups/${id}`));
    this.draw();
  }

  add(group) {
    this.#groups.set(group.id, group);
    this.draw();
  }

  remove(id) {
    this.#groups.delete(id);
    this.draw();
  }

  /** Takes counts that the server told: `[group, unread, mentions]`. */
  setCounts(counts) {
    for (const [id, unread, mentions] of counts) {
      const group = this.#groups.get(id);
      if (group) Object.assign(group, { unread, mentions });
    }
    this.draw();
  }

  /** Takes events that were applied: the preview moves on, and others' messages are unread. */
  applied(id, events) {
    const group = this.#groups.get(id);
    if (!group) return;
    for (const event of events) {
      if (event.kind === "settings" && event.name) group.name = event.name;
      if (event.kind === "joined") group.members += 1;
      if (event.kind === "left" || event.kind === "removed") group.members -= 1;
      if (event.kind !== "message") continue;
      group.last = event;
      if (event.sender !== this.session.user.id && !this.hooks.isRead(id)) this.#count(group, event);
    }
    this.draw();
  }

  #count(group, event) {
    group.unread += 1;
    const { mentions } = event;
    const mine = mentions === "all" || mentions?.includes(this.session.user.id);
    if (mine) group.mentions += 1;
  }

  /** Events from `start` on never happened; what came before is asked for. */
  dropped(id, start) {
    const last = this.#groups.get(id)?.last;
    if (last && last.pos[1] >= start) this.refresh(id).catch(() => {});
  }

  draw() {
    const groups = [...this.#groups.values()].sort(byActivity);
    for (const [id, item] of this.#items) {
      if (this.#groups.has(id)) continue;
      item.remove();
      this.#items.delete(id);
    }
    groups.forEach((group, index) => {
      const item = this.#item(group);
      if (this.list.children[index] !== item) {
        this.list.insertBefore(item, this.list.children[index] ?? null);
      }
    });
    const hint = this.staff ? "no_groups_staff" : "no_groups";
    this.empty.textContent = groups.length === 0 ? word(hint) : "";
  }

  #item(group) {
    let item = this.#items.get(group.id);
    if (!item) {
      item = makeItem(group.id, () => this.hooks.open(group.id));
      this.#items.set(group.id, item);
    }
    const [button] = item.children;
    const [name, time, preview, badge] = button.children;
    setText(name, group.name);
    setText(time, group.last ? moment(group.last.at) : "");
    setText(preview, this.#preview(group));
    setText(badge, group.unread > 99 ? "99+" : group.unread > 0 ? String(group.unread) : "");
    badge.toggleAttribute("data-mentions", group.mentions > 0);
    const label = [word("unread", group.unread), group.mentions > 0 ? word("mentioned") : ""];
    badge.setAttribute("aria-label", label.join(" "));
    button.setAttribute("aria-current", String(group.id === this.open));
    return item;
  }

  #preview({ last }) {
    if (!last || last.kind !== "message") return "";
    const own = last.sender === this.session.user.id;
    const from = own ? word("you") : this.hooks.name(last.sender);
    return `${from}: ${last.recalled ? word("recalled") : (last.body?.text ?? word("unknown_kind"))}`;
  }
}

function makeItem(id, open) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "group";
  button.dataset.testid = "group-item";
  button.dataset.group = id;
  button.addEventListener("click", open);
  for (const [tag, name] of [["span", "name"], ["time", "time"], ["span", "preview"], ["span", "badge"]]) {
    const part = document.createElement(tag);
    part.className = name;
    button.append(part);
  }
  item.append(button);
  return item;
}

function byActivity(a, b) {
  const at = (group) => Date.parse(group.last?.at ?? group.created_at);
  return at(b) - at(a) || compare(b.head, a.head) || (a.id < b.id ? -1 : 1);
}
