// Who is signed in, and every REST call. The sign-in lives in sessionStorage: a reload keeps it,
// another tab has its own. Access tokens are renewed before they end, by one call at a time.

const KEY = "qunliu.session";
/** The share of a token's life after which it is renewed. */
const RENEW_AT_SHARE = 0.8;
/** The pause after a renewal that failed for want of a network. */
const RENEW_RETRY_MS = 5_000;

/** A refusal by the server, or `offline` without one. */
export class Refusal extends Error {
  constructor(code, detail = "", fields = []) {
    super(`${code} ${detail}`);
    this.code = code;
    this.fields = fields;
  }
}

export class Session {
  #renewal = null;
  #timer = null;

  /**
   * `on.renewed` gets each new access token, `on.ended` is called when the sign-in is over, with why if
   * it was not ended here.
   */
  constructor(on) {
    this.on = on;
    this.data = load();
    if (this.data) this.#plan();
  }

  get user() {
    return this.data?.user ?? null;
  }

  get token() {
    return this.data?.access;
  }

  /** The name of this tab as a device, the same through reloads. */
  get device() {
    return this.data.device;
  }

  register(account) {
    return this.#enter("/v1/auth/register", account);
  }

  logIn(account) {
    return this.#enter("/v1/auth/login", account);
  }

  async #enter(path, account) {
    const answer = await request("POST", path, null, account);
    this.data = { user: answer.user, device: `web-${crypto.randomUUID().slice(0, 8)}` };
    this.#keep(answer);
    return answer;
  }

  async logOut() {
    const over = this.call("POST", "/v1/auth/logout").catch(() => {});
    await Promise.race([over, new Promise((resolve) => setTimeout(resolve, 2_000))]);
    this.end();
  }

  /** One call; an access token that ran out is renewed once on the way. */
  async call(method, path, body) {
    try {
      return await request(method, path, this.token, body);
    } catch (refusal) {
      if (!["unauthenticated", "token_expired"].includes(refusal.code)) throw refusal;
      await this.renew();
      return request(method, path, this.token, body);
    }
  }

  /** Renews the access token; calls at the same time share one renewal. */
  renew() {
    this.#renewal ??= this.#renew().finally(() => (this.#renewal = null));
    return this.#renewal;
  }

  async #renew() {
    if (!this.data) throw new Refusal("unauthenticated");
    try {
      const body = { refresh_token: this.data.refresh };
      this.#keep(await request("POST", "/v1/auth/refresh", null, body));
      this.on.renewed(this.token);
    } catch (refusal) {
      if (refusal.code === "unauthenticated" || refusal.code === "token_expired") this.end(refusal.code);
      else this.#wait(RENEW_RETRY_MS);
      throw refusal;
    }
  }

  #keep(answer) {
    if (!this.data) return;
    this.data.access = answer.access_token;
    this.data.refresh = answer.refresh_token;
    this.data.renewAt = Date.now() + answer.expires_in * 1000 * RENEW_AT_SHARE;
    sessionStorage.setItem(KEY, JSON.stringify(this.data));
    this.#plan();
  }

  #plan() {
    this.#wait(Math.max(0, this.data.renewAt - Date.now()));
  }

  #wait(pause) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.renew().catch(() => {}), pause);
  }

  /** The sign-in is over; `why` is the code of the refusal that ended it. */
  end(why) {
    if (!this.data) return;
    clearTimeout(this.#timer);
    this.data = null;
    sessionStorage.removeItem(KEY);
    this.on.ended(why);
  }
}

function load() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY));
  } catch {
    return null;
  }
}

async function request(method, path, token, body) {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const options = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
  const answer = await fetch(path, options).catch(() => {
    throw new Refusal("offline");
  });
  const text = await answer.text().catch(() => "");
  const parsed = parse(text);
  if (answer.ok) return parsed;
  const fields = (parsed?.errors ?? []).map((error) => error.field);
  throw new Refusal(parsed?.code ?? "internal", parsed?.detail, fields);
}

function parse(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}
