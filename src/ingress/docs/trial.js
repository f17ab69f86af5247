// Trying an operation against this very server.

import { json, make } from "./dom.js";

/** A form that calls one operation and shows the answer. */
export function trial(schemas, method, path, operation, token) {
  const inputs = operation.parameters.map((parameter) => input(schemas, parameter));
  const body = bodyOf(schemas, operation);
  const answer = make("div", { "data-testid": "answer" });
  const form = make("form", {}, inputs.map(({ label }) => label),
    body ? make("label", {}, "Body", body) : "", make("button", {}, "Send"), answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    answer.replaceChildren("…");
    const target = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(value(inputs, name)));
    answer.replaceChildren(...(await send(method, target + query(inputs), body?.value, token())));
  });
  return form;
}

function input(schemas, parameter) {
  const schema = schemas.follow(parameter.schema);
  const isNeeded = parameter.required;
  const field = make("input", { name: parameter.name, required: isNeeded ? "" : false,
    placeholder: String(schemas.example(schema)), spellcheck: "false" });
  return { parameter, field, label: make("label", {}, parameter.name, field) };
}

function value(inputs, name) {
  return inputs.find(({ parameter }) => parameter.name === name).field.value;
}

function query(inputs) {
  const given = inputs.filter(({ parameter, field }) => parameter.in === "query" && field.value);
  const pairs = given.map(({ parameter, field }) => [parameter.name, field.value]);
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

function bodyOf(schemas, operation) {
  const content = operation.requestBody?.content["application/json"];
  if (!content) return undefined;
  const area = make("textarea", { rows: 6, spellcheck: "false" });
  area.value = JSON.stringify(schemas.example(content.schema), null, 2);
  return area;
}

async function send(method, target, body, token) {
  const headers = { "accept-language": "en" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (token) headers.authorization = `Bearer ${token}`;
  try {
    const response = await fetch(target, { method: method.toUpperCase(), headers, body });
    const text = await response.text();
    return [make("p", {}, `${response.status} ${response.statusText}`), shown(text)];
  } catch (error) {
    return [make("p", { class: "alarm" }, String(error))];
  }
}

function shown(text) {
  try {
    return json(JSON.parse(text));
  } catch {
    return make("pre", {}, text);
  }
}
