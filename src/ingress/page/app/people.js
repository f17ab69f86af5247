// The names of people, asked for once each and in batches.

/** How many names one call asks for. */
const BATCH = 100;
/** The pause in which names to ask for are gathered. */
const GATHER_MS = 50;

export class People {
  #names = new Map();
  #wanted = new Set();
  #timer = null;

  /** `changed` is called when names came. */
  constructor(session, changed) {
    this.session = session;
    this.changed = changed;
    this.#names.set(session.user.id, session.user.display_name);
  }

  /** The name of a person; the end of the id until it is known. */
  name(id) {
    const name = this.#names.get(id);
    if (name === undefined) this.#want(id);
    return name ?? id.slice(-6);
  }

  #want(id) {
    this.#wanted.add(id);
    this.#timer ??= setTimeout(() => this.#ask(), GATHER_MS);
  }

  async #ask() {
    const ids = [...this.#wanted].slice(0, BATCH);
    ids.forEach((id) => this.#wanted.delete(id));
    // Whoever the server does not tell of keeps the end of the id, and is not asked for again.
    ids.forEach((id) => this.#names.set(id, id.slice(-6)));
    try {
      const answer = await this.session.call("GET", `/v1/users?ids=${ids.join(",")}`);
      for (const user of answer.items) this.#names.set(user.id, user.display_name);
      this.changed();
    } catch {
      // They are asked for again when something is drawn; until then the page works without.
      ids.forEach((id) => this.#names.delete(id));
    }
    this.#timer = this.#wanted.size > 0 ? setTimeout(() => this.#ask(), GATHER_MS) : null;
  }
}
