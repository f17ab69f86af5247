// The page at /docs: draws /openapi.json as it is, so that it cannot say anything else.

import { json, make, prose } from "./dom.js";
import { Schemas } from "./schema.js";
import { trial } from "./trial.js";

const METHODS = ["get", "put", "post", "delete", "patch"];

const place = (id) => document.getElementById(id);
const token = () => place("token").value.trim();

try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`/openapi.json: ${response.status}`);
  draw(await response.json());
} catch (error) {
  place("error").textContent = String(error);
}

function draw(api) {
  const schemas = new Schemas(api);
  place("version").textContent = api.info.version;
  place("about").replaceChildren(...prose(api.info.description));
  const operations = list(api);
  place("operations").replaceChildren(...operations.map((one) => section(schemas, one)));
  place("contents").replaceChildren(...contents(operations));
  const named = Object.entries(api.components.schemas);
  place("schemas").replaceChildren(...named.map(([name, schema]) => definition(schemas, name, schema)));
  place("search").addEventListener("input", () => search(place("search").value));
  if (location.hash) place(location.hash.slice(1))?.scrollIntoView();
}

/** All operations, those of one tag side by side. */
function list(api) {
  const all = Object.entries(api.paths).flatMap(([path, methods]) =>
    METHODS.filter((method) => methods[method]).map((method) => ({ path, method, ...methods[method] })));
  const order = api.tags.map((tag) => tag.name);
  return all.sort((a, b) => order.indexOf(a.tags[0]) - order.indexOf(b.tags[0]));
}

function contents(operations) {
  const tags = [...new Set(operations.map((one) => one.tags[0]))];
  return tags.map((tag) => {
    const entries = operations.filter((one) => one.tags[0] === tag).map((one) =>
      make("li", { "data-of": one.operationId }, make("a", { href: `#${one.operationId}` }, title(one))));
    return make("section", {}, make("h2", {}, tag), make("ul", {}, entries));
  });
}

function title(one) {
  return [make("b", { class: `method ${one.method}` }, one.method.toUpperCase()), " ", make("code", {}, one.path)];
}

function section(schemas, one) {
  const isOpen = one.security?.length === 0;
  const parts = [
    make("h3", {}, title(one)),
    make("p", {}, prose(one.summary), isOpen ? "" : " Needs a token."),
    parameters(schemas, one.parameters),
    body(schemas, one.requestBody),
    make("h4", {}, "Answers"),
    ...Object.entries(one.responses).map(([status, answer]) => answers(schemas, status, answer)),
    make("details", {}, make("summary", {}, "Try it"), trial(schemas, one.method, one.path, one, token)),
  ];
  return make("article", { id: one.operationId, "data-testid": "operation", "data-of": one.operationId,
    "data-words": `${one.method} ${one.path} ${one.summary} ${one.operationId}`.toLowerCase() }, parts);
}

function parameters(schemas, all) {
  if (!all.length) return "";
  const rows = all.map((one) => make("tr", {},
    make("th", {}, make("code", {}, one.name), one.required ? make("b", { title: "required" }, "*") : ""),
    make("td", {}, schemas.draw(one.schema)), make("td", {}, `in the ${one.in}. `, prose(one.description))));
  return make("div", {}, make("h4", {}, "Parameters"), make("table", {}, make("tbody", {}, rows)));
}

function body(schemas, request) {
  if (!request) return "";
  const { schema } = request.content["application/json"];
  return make("div", {}, make("h4", {}, "Body"), schemas.draw(schema), json(schemas.example(schema)));
}

function answers(schemas, status, answer) {
  const told = schemas.follow(answer);
  const parts = Object.entries(told.content ?? {}).map(([type, { schema }]) => {
    const form = schema.allOf?.[0] ?? schema;
    return make("span", {}, ` ${type}: `, schemas.draw(form));
  });
  const headers = Object.keys(told.headers ?? {}).map((name) => make("code", {}, ` ${name}`));
  return make("p", { class: "answer" }, make("b", {}, status), " ", prose(told.description), parts, headers);
}

function definition(schemas, name, schema) {
  return make("article", { id: `schema-${name}`, "data-testid": "schema" },
    make("h3", {}, name), make("p", {}, prose(schema.description)), schemas.draw(schema));
}

/** Shows only what has all the words. */
function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const article of document.querySelectorAll("article[data-of]")) {
    const isHit = words.every((word) => article.dataset.words.includes(word));
    for (const part of document.querySelectorAll(`[data-of=${article.dataset.of}]`)) part.hidden = !isHit;
  }
}
