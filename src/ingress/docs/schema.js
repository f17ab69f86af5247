// Schemas: what they say in words, and an example of what they describe.

import { make, prose } from "./dom.js";

/** How deep an example follows schemas into each other. */
const DEPTH_MAX = 8;

/** Reads the schemas of one document. */
export class Schemas {
  constructor(document) {
    this.document = document;
  }

  /** What stands at a reference, or the value itself. */
  follow(value) {
    if (!value?.$ref) return value;
    const steps = value.$ref.slice(2).split("/");
    return steps.reduce((place, step) => place?.[step], this.document);
  }

  /** One value that the schema allows. */
  example(schema, depth = 0) {
    const { $ref, ...beside } = schema ?? {};
    if ($ref && beside.examples === undefined) return this.example(this.follow(schema), depth);
    if (schema.examples?.length) return schema.examples[0];
    if (schema.const !== undefined) return schema.const;
    if (schema.enum) return schema.enum[0];
    if (depth > DEPTH_MAX) return null;
    const choice = (schema.oneOf ?? schema.anyOf ?? [])[0];
    const chosen = choice ? this.example(choice, depth + 1) : undefined;
    if (schema.properties || schema.type === "object") return this.#object(schema, chosen, depth);
    return chosen === undefined ? this.#plain(schema, depth) : chosen;
  }

  #object(schema, chosen, depth) {
    const needed = Object.entries(schema.properties ?? {}).filter(([name, property]) =>
      schema.required?.includes(name) || this.follow(property).examples);
    const own = needed.map(([name, property]) => [name, this.example(property, depth + 1)]);
    return { ...Object.fromEntries(own), ...chosen };
  }

  #plain(schema, depth) {
    const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
    if (type === "array") return schema.prefixItems
      ? schema.prefixItems.map((item) => this.example(item, depth + 1))
      : [this.example(schema.items, depth + 1)];
    if (type === "integer" || type === "number") return schema.default ?? schema.minimum ?? 0;
    if (type === "boolean") return true;
    return type === "string" ? "…" : null;
  }

  /** The schema as a list of its fields, or as a line. */
  draw(schema) {
    const name = nameOf(schema);
    if (name) return make("a", { href: `#schema-${name}` }, name);
    const parts = [make("span", { class: "type" }, line(schema))];
    if (schema.items) parts.push(" of ", this.draw(schema.items));
    if (schema.properties) parts.push(this.#fields(schema));
    for (const choice of schema.oneOf ?? schema.anyOf ?? schema.allOf ?? []) {
      const told = this.follow(choice).description;
      parts.push(make("div", { class: "choice" }, "or ", this.draw(choice), " ", prose(told)));
    }
    return make("div", { class: "schema" }, parts);
  }

  #fields(schema) {
    const rows = Object.entries(schema.properties).map(([name, property]) => {
      const star = schema.required?.includes(name) ? make("b", { title: "required" }, "*") : "";
      const told = property.description ?? "";
      return make("tr", {}, make("th", {}, make("code", {}, name), star),
        make("td", {}, this.draw(property)), make("td", {}, prose(told)));
    });
    return make("table", {}, make("tbody", {}, rows));
  }
}

function nameOf(schema) {
  return schema?.$ref?.split("/").at(-1);
}

/** Type and bounds in a line. */
function line(schema) {
  const words = [];
  if (schema.const !== undefined) words.push(JSON.stringify(schema.const));
  else if (schema.enum) words.push(schema.enum.map((word) => JSON.stringify(word)).join(" | "));
  else if (schema.type) words.push([schema.type].flat().join(" or "));
  if (schema.format) words.push(`(${schema.format})`);
  const least = schema.minimum ?? schema.minLength ?? schema.minItems;
  const most = schema.maximum ?? schema.maxLength ?? schema.maxItems;
  if (least !== undefined || most !== undefined) words.push(`${least ?? 0} to ${most ?? "any"}`);
  if (schema.pattern) words.push(schema.pattern);
  if (schema.default !== undefined) words.push(`default ${JSON.stringify(schema.default)}`);
  return words.join(" ");
}
