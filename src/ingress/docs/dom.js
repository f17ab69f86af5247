// Making elements. Text is only ever set as text.

/** An element with attributes and children; a child is an element or a text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== ""));
  return element;
}

/** A text whose `quoted` parts are shown as code. */
export function prose(text = "") {
  return text.split("`").map((part, index) => (index % 2 === 1 ? make("code", {}, part) : part));
}

/** A value as indented JSON. */
export function json(value) {
  return make("pre", {}, JSON.stringify(value, null, 2));
}
