// The page at /docs in a real browser: it shows the whole of /openapi.json, can be searched, can try an
// operation, and asks nothing of any other host.
//
// scripts/web runs this after page.test.mjs, on the same server; see there.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser } from "./person.mjs";

const { PAGE_URL } = process.env;
const PATIENCE_MS = 15_000;
const METHODS = ["get", "put", "post", "delete", "patch"];

let browser, page, api;
// Every address that the page asked for, and what it complained of.
const asked = [];
const complaints = [];

before(async () => {
  browser = await openBrowser();
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE_MS);
  page = await context.newPage();
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (line) => line.type() === "error" && complaints.push(line.text()));
  await page.goto(new URL("/docs", PAGE_URL).href);
  await operations().first().waitFor();
  api = await (await fetch(new URL("/openapi.json", PAGE_URL))).json();
});

after(() => browser?.close());

test("every operation and every schema of the document is shown", async () => {
  const described = Object.values(api.paths).flatMap((methods) =>
    METHODS.filter((method) => methods[method]).map((method) => methods[method].operationId));
  const shown = await operations().evaluateAll((all) => all.map((one) => one.dataset.of));
  assert.deepEqual(shown.sort(), described.sort());
  const names = await page.getByTestId("schema").locator("h3").allTextContents();
  assert.deepEqual(names.sort(), Object.keys(api.components.schemas).sort());
});

test("every link within the page leads somewhere", async () => {
  const dead = await page.evaluate(() => [...document.querySelectorAll("a[href^='#']")]
    .filter((link) => !document.getElementById(link.hash.slice(1))).map((link) => link.hash));
  assert.deepEqual(dead, []);
});

test("a search leaves what has all the words", async () => {
  await page.getByTestId("search").fill("members post");
  await operation("list_members").waitFor({ state: "hidden" });
  assert.ok(await operation("add_members").isVisible());
  await page.getByTestId("search").fill("");
  await operation("list_members").waitFor();
});

test("an operation is tried with the token that was given", async () => {
  await send("read_me");
  await answer("read_me").filter({ hasText: "401" }).waitFor();
  await operation("register").locator("summary").click();
  // The example with another name, for the story of the other page took its.
  const body = operation("register").locator("textarea");
  await body.fill((await body.inputValue()).replace("li.lei", "docs.reader"));
  await operation("register").getByRole("button").click();
  await answer("register").filter({ hasText: "access_token" }).waitFor();
  const granted = JSON.parse(await answer("register").locator("pre").textContent());
  await page.getByTestId("token").fill(granted.access_token);
  await operation("read_me").getByRole("button").click();
  await answer("read_me").filter({ hasText: granted.user.id }).waitFor();
});

test("nothing was asked of another host, and nothing was refused by the policy", () => {
  assert.ok(asked.length > 5);
  assert.deepEqual(asked.filter((url) => new URL(url).origin !== new URL(PAGE_URL).origin), []);
  // The call without a token above is told by the browser itself.
  assert.deepEqual(complaints.filter((line) => !line.includes("401")), []);
});

function operations() {
  return page.getByTestId("operation");
}

function operation(name) {
  return page.locator(`[data-testid=operation][data-of=${name}]`);
}

function answer(name) {
  return operation(name).getByTestId("answer");
}

async function send(name) {
  await operation(name).locator("summary").click();
  await operation(name).getByRole("button").click();
}
