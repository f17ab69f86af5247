// docs/asyncapi.yaml: a valid AsyncAPI 3 document that describes the golden frames of tests/wire, no more
// and no less, and does not contradict the OpenAPI document of the server.
//
// scripts/api runs this; it sets OPENAPI to that document's file.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { Parser } from "@asyncapi/parser";
import Ajv from "ajv";
import Ajv2020 from "ajv/dist/2020.js";

const WIRE = "../wire";
// What no schema can refuse: it is no JSON, or JSON that JSON.parse mends.
const NOT_FOR_SCHEMAS = ["refused-trailing", "refused-twice", "refused-lone-surrogate"];

const text = readFileSync("../../docs/asyncapi.yaml", "utf8");
const { document, diagnostics } = await new Parser().parse(text);
const api = document?.json();
const openapi = JSON.parse(readFileSync(process.env.OPENAPI, "utf8"));

// Formats are told to people only; the patterns are what is checked.
const ajv = new Ajv({ strict: false, validateFormats: false });
const ajv2020 = new Ajv2020({ strict: false, validateFormats: false });
ajv2020.addSchema(openapi, "openapi");

const frames = readdirSync(WIRE).map((file) => {
  const name = file.replace(/\.json$/, "");
  return { name, by: name.split("-")[0], text: readFileSync(`${WIRE}/${file}`, "utf8") };
});

/** The types of the frames that the server receives. */
const received = document?.operations().filterByReceive() ?? [];
const fromClients = new Set(received.flatMap((operation) => operation.messages().all().map((message) => message.id())));

const payload = (type) => api.channels.socket.messages[type]?.payload;

function complaints(validate, value) {
  return validate(value) ? [] : validate.errors;
}

test("the document is AsyncAPI 3 without a warning", () => {
  assert.deepEqual(diagnostics.filter(({ severity }) => severity <= 1), []);
  assert.equal(document.version(), "3.0.0");
});

test("every golden frame is as it is described", () => {
  for (const { name, by, text } of frames.filter(({ by }) => by !== "refused")) {
    const frame = JSON.parse(text);
    assert.ok(payload(frame.type), `${name}: ${frame.type} is not described`);
    assert.equal(fromClients.has(frame.type), by === "client", name);
    assert.deepEqual(complaints(ajv.compile(payload(frame.type)), frame), [], name);
  }
});

test("every frame that is described has a golden one", () => {
  const golden = frames.filter(({ by }) => by !== "refused").map(({ text }) => JSON.parse(text).type);
  const described = Object.keys(api.channels.socket.messages);
  assert.deepEqual([...new Set(golden)].sort(), described.sort());
});

test("no frame that is refused is as described", () => {
  for (const { name, text } of frames.filter(({ by }) => by === "refused")) {
    if (NOT_FOR_SCHEMAS.includes(name)) continue;
    const frame = JSON.parse(text);
    const isDescribed = fromClients.has(frame.type) && ajv.validate(payload(frame.type), frame);
    assert.ok(!isDescribed, name);
  }
});

test("events and groups are what REST tells, too", () => {
  const told = (name) => ajv2020.getSchema(`openapi#/components/schemas/${name}`);
  let seen = 0;
  for (const { name, text } of frames.filter(({ by }) => by === "server")) {
    const frame = JSON.parse(text);
    for (const event of frame.events ?? []) {
      assert.deepEqual(complaints(told("Event"), event), [], name);
      seen += 1;
    }
    if (frame.type !== "joined") continue;
    assert.deepEqual(complaints(told("Group"), frame.group), [], name);
    seen += 1;
  }
  assert.ok(seen > 9);
});

test("both documents have the same codes, roles, ids and bounds", () => {
  const here = api.components.schemas;
  const there = openapi.components.schemas;
  assert.deepEqual(here.ErrorCode.enum, there.ErrorCode.enum);
  assert.deepEqual(here.Role.enum, there.Role.oneOf.map((role) => role.const));
  for (const id of ["ClientId", "UserId", "MerchantId", "GroupId", "MessageId"]) {
    assert.equal(here[id].pattern, there[id].pattern, id);
  }
  const bounds = ({ minLength, maxLength, pattern }) => ({ minLength, maxLength, pattern });
  assert.deepEqual(bounds(here.Body.properties.text), bounds(there.Body.oneOf[0].properties.text));
  assert.deepEqual(
    bounds(payload("hello").properties.device), bounds(there.Login.properties.device));
  assert.equal(here.Mentions.oneOf[1].maxItems, there.Mentions.anyOf[1].maxItems);
  assert.equal(here.Position.items[1].maximum, there.Position.prefixItems[1].maximum);
});
