// The built-in page as two people see it: 李雷 (the merchant) and 韩梅梅 (his customer), each in a
// browser of their own, on a fresh server. The tests tell one story and run in this order.
//
// scripts/web runs this; it sets PAGE_URL (a server without accounts) and CHROMIUM (its path).
// Everything is found by `data-testid`, and only what a person could see is checked.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  GROUP, HAN_MEIMEI, LI_LEI, logIn, makeGroup, message, openBrowser, openGroup, openPage as open, register, sees,
  seesStored, userId,
} from "./person.mjs";

const MARKUP = "<img src=x onerror=alert(1)> 5 > 3 & <b>粗体</b>";

let browser, lilei, meimei, phone;
// What the pages of the story complained of, in the console or by an uncaught error.
const complaints = [];
// The texts sent so far, in order.
const sent = [];

before(async () => {
  browser = await openBrowser();
  lilei = await openPage();
  meimei = await openPage();
});

after(() => browser?.close());

test("the first visitor registers and is in", async () => {
  await register(lilei, LI_LEI);
  assert.match(await userId(lilei), /^u_/);
});

test("a new group appears in the list", async () => {
  await makeGroup(lilei);
  await openGroup(lilei);
});

test("a customer registers and has no groups yet", async () => {
  await register(meimei, HAN_MEIMEI);
  assert.notEqual(await userId(meimei), await userId(lilei));
  assert.equal(await meimei.getByTestId("group-item").count(), 0);
});

test("who is added sees the group without reloading", async () => {
  await lilei.getByTestId("member-add-id").fill(await userId(meimei));
  await lilei.getByTestId("member-add-submit").click();
  await openGroup(meimei);
});

test("what one sends the other sees at once, and the reverse", async () => {
  await send(meimei, "在吗");
  await sees(lilei, "在吗");
  await send(lilei, "在的，您说");
  await sees(meimei, "在的，您说");
});

test("each sees who of the group is here", async () => {
  for (const page of [lilei, meimei]) {
    const online = page.getByTestId("online").filter({ hasText: "2 人在线" });
    await online.filter({ hasText: LI_LEI.display }).filter({ hasText: HAN_MEIMEI.display }).waitFor();
  }
});

test("what one writes shows at the other as typing, until it is sent", async () => {
  const typing = lilei.getByTestId("typing");
  const shown = typing.filter({ hasText: `${HAN_MEIMEI.display} 正在输入` }).waitFor();
  // For longer than the pace: she has sent something a moment ago.
  await meimei.getByTestId("composer").pressSequentially("两份牛肉面多少钱？", { delay: 600 });
  await shown;
  assert.equal(await meimei.getByTestId("typing").textContent(), "", "nobody is told of oneself");
  await send(meimei, "两份牛肉面多少钱");
  await sees(lilei, "两份牛肉面多少钱");
  assert.equal(await typing.textContent(), "");
});

test("one's own message ends as stored", async () => {
  await seesStored(meimei, "在吗");
  await seesStored(lilei, "在的，您说");
});

test("markup in a message is shown as text", async () => {
  await send(meimei, MARKUP);
  await sees(lilei, MARKUP);
  assert.equal(await message(lilei, MARKUP).locator("b").count(), 0);
});

test("both see every message once, in the order sent", async () => {
  await showsAllSent(lilei);
  await showsAllSent(meimei);
});

test("after a reload one is still signed in and sees the history", async () => {
  await meimei.reload();
  assert.match(await userId(meimei), /^u_/);
  await openGroup(meimei);
  await showsAllSent(meimei);
});

test("after a reload messages still come in live", async () => {
  await send(lilei, "两份牛肉面？");
  await sees(meimei, "两份牛肉面？");
});

test("signing in on another device shows the same", async () => {
  phone = await openPage({ viewport: { width: 390, height: 760 } });
  await logIn(phone, LI_LEI);
  assert.equal(await userId(phone), await userId(lilei));
  await openGroup(phone);
  await showsAllSent(phone);
});

test("one's own message ends as stored on one's other device, too", async () => {
  await send(lilei, "欢迎再来");
  await seesStored(phone, "欢迎再来");
});

// Here, since from now on the browser itself logs what fails.
test("the pages logged no error", () => {
  assert.deepEqual(complaints, []);
});

test("a group that is opened without a network is shown once there is one", async () => {
  await phone.reload();
  await phone.getByTestId("group-item").waitFor();
  await phone.context().setOffline(true);
  await openGroup(phone);
  await phone.getByTestId("error").filter({ hasText: "连不上服务器" }).waitFor();
  await phone.context().setOffline(false);
  await showsAllSent(phone);
});

test("what is sent before the server welcomes is not missing, and a phone tells that it still connects", async () => {
  let goOn;
  const sentMeanwhile = new Promise((resolve) => (goOn = resolve));
  await phone.routeWebSocket("**/v1/socket", async (socket) => {
    await sentMeanwhile;
    socket.connectToServer();
  });
  await phone.reload();
  await openGroup(phone);
  await showsAllSent(phone);
  await phone.locator("#room .state").filter({ hasText: "连接中" }).waitFor();
  await send(lilei, "送到门口");
  goOn();
  await showsAllSent(phone);
  await phone.locator("#room .state").waitFor({ state: "hidden" });
});

test("what one reads stays where it is while others write", async () => {
  await phone.setViewportSize({ width: 390, height: 480 });
  await phone.locator("#scroll").evaluate((scroll) => (scroll.scrollTop = 40));
  const top = async () =>
    (await message(phone, "在吗").boundingBox()).y - (await phone.locator("#scroll").boundingBox()).y;
  const before = await top();
  await send(lilei, "您的面好了");
  await sees(phone, "您的面好了");
  assert.ok(Math.abs((await top()) - before) <= 1, `${before} and then ${await top()}`);
});

test("a new name shows at once to all", async () => {
  await asLiLei("PATCH", await groupPath(), { name: `${GROUP}（新）` });
  for (const page of [lilei, meimei]) {
    await page.locator("#room-name").filter({ hasText: "（新）" }).waitFor();
    await page.locator("#messages .notice").filter({ hasText: `群名改为「${GROUP}（新）」` }).waitFor();
  }
});

test("who is removed is told, and the group is gone", async () => {
  await asLiLei("DELETE", `${await groupPath()}/members/${await userId(meimei)}`);
  await meimei.getByTestId("error").filter({ hasText: `您已不在「${GROUP}（新）」` }).waitFor();
  assert.equal(await meimei.getByTestId("group-item").count(), 0);
  await lilei.locator("#messages .notice").filter({ hasText: `${HAN_MEIMEI.display} 被移出群聊` }).waitFor();
});

test("who logs out elsewhere is told to log in again, who logs out here is not", async () => {
  await asLiLei("POST", "/v1/auth/logout-all");
  for (const page of [lilei, phone]) {
    await page.getByTestId("login-name").waitFor();
    await page.getByTestId("error").filter({ hasText: "请重新登录" }).waitFor();
  }
  await meimei.locator("#log-out").click();
  await meimei.getByTestId("login-name").waitFor();
  assert.equal(await meimei.getByTestId("error").textContent(), "");
});


test("a wrong password is told in words", async () => {
  const stranger = await openPage();
  await logIn(stranger, { ...LI_LEI, password: "wrong horse" });
  await stranger.getByTestId("error").filter({ hasText: /\S/ }).waitFor();
  assert.equal(await stranger.getByTestId("me").count(), 0);
});

// ---- What a person does and sees.

function openPage(options) {
  return open(browser, complaints, undefined, options);
}

// What the page has no control for, called in its session.
async function asLiLei(method, path, body) {
  const status = await lilei.evaluate(async ([method, path, body]) => {
    const { access } = JSON.parse(sessionStorage.getItem("qunliu.session"));
    const headers = { authorization: `Bearer ${access}`, "content-type": "application/json" };
    return (await fetch(path, { method, headers, body: body && JSON.stringify(body) })).status;
  }, [method, path, body]);
  assert.ok(status < 300, `${method} ${path}: ${status}`);
}

async function groupPath() {
  return `/v1/groups/${await lilei.getByTestId("group-item").getAttribute("data-group")}`;
}

async function send(page, text) {
  await page.getByTestId("composer").fill(text);
  await page.getByTestId("send").click();
  await sees(page, text);
  assert.equal(await page.getByTestId("composer").inputValue(), "", "the composer is empty again");
  sent.push(text);
}

// Every text sent so far is there, once, and in order.
async function showsAllSent(page) {
  for (const text of sent) await sees(page, text);
  const shown = await page.getByTestId("message").allTextContents();
  const places = sent.map((text) => shown.flatMap((line, i) => (line.includes(text) ? [i] : [])));
  assert.deepEqual(places, sent.map((_, i) => [i]), `shown: ${JSON.stringify(shown)}`);
}
