// What a person does with the page and sees on it, for the tests that open a browser. Controls are found by
// their `data-testid`.

import { chromium } from "playwright-core";

const { PAGE_URL, CHROMIUM } = process.env;
// How long anything may take to show; generous, since the machine may be busy.
const PATIENCE_MS = 15_000;

// The options let it run as root, on machines without a GPU, without calling home.
const FLAGS = `--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
  --disable-component-update --disable-sync`.split(/\s+/);

export const LI_LEI = { name: "li.lei", password: "correct horse", display: "李雷" };
export const HAN_MEIMEI = { name: "han.meimei", password: "battery staple", display: "韩梅梅" };
export const GROUP = "老街面馆 1 群";

export function openBrowser() {
  return chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
}

// A page of a visitor of one's own. What it complains of, in the console or by an uncaught error, goes to
// `complaints`; `script` runs in it before its own scripts; `options` are those of a playwright context.
export async function openPage(browser, complaints, script = () => {}, options = {}) {
  const context = await browser.newContext({ locale: "zh-CN", ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  await context.addInitScript(script);
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (line) => {
    if (line.type() === "error") complaints.push(`${line.text()} (${line.location().url})`);
  });
  await page.goto(PAGE_URL);
  return page;
}

export async function register(page, { name, password, display }) {
  await page.getByTestId("register-name").fill(name);
  await page.getByTestId("register-password").fill(password);
  await page.getByTestId("register-display").fill(display);
  await page.getByTestId("register-submit").click();
}

export async function logIn(page, { name, password }) {
  await page.getByTestId("login-name").fill(name);
  await page.getByTestId("login-password").fill(password);
  await page.getByTestId("login-submit").click();
}

// The id of whoever is signed in; waits until someone is.
export function userId(page) {
  return page.locator("[data-testid=me][data-user]").getAttribute("data-user");
}

export async function makeGroup(page, name = GROUP) {
  await page.getByTestId("group-new-name").fill(name);
  await page.getByTestId("group-new-submit").click();
}

export async function openGroup(page, name = GROUP) {
  await page.getByTestId("group-item").filter({ hasText: name }).click();
  await page.getByTestId("composer").waitFor();
}

export function message(page, text) {
  return page.getByTestId("message").filter({ hasText: text });
}

export async function sees(page, text) {
  await message(page, text).waitFor();
}

// Waits until one's own message is stored.
export async function seesStored(page, text) {
  await message(page, text).and(page.locator("[data-receipt=stored]")).waitFor();
}
