// What all screens use: showing one, listening to its parts, telling errors.

import { refusal, translate } from "./words.js";

/** How long an error is shown. */
const ERROR_MS = 8_000;

/** What the current screen is drawn in. */
export const screen = document.querySelector("#screen");

const errorLine = document.querySelector("[data-testid=error]");
let errorTimer = null;

/** Replaces the screen by a template of the page. What the one before complained of goes with it. */
export function show(template) {
  complain("");
  screen.replaceChildren(document.querySelector(template).content.cloneNode(true));
  translate(screen);
}

/** Sets a text. One that did not change costs no drawing, and is not read out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Listens to a part of the screen. */
export function on(selector, event, listener) {
  screen.querySelector(selector).addEventListener(event, listener);
}

/** What a form does when it is sent: one call at a time, refusals told in words. */
export function onSubmit(selector, deed, act) {
  const form = screen.querySelector(selector);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    if (button.disabled) return;
    button.disabled = true;
    complain("");
    try {
      await act(Object.fromEntries(new FormData(form)), form);
    } catch (error) {
      complain(refusal(error, deed));
    }
    button.disabled = false;
  });
}

/** Tells what went wrong; nothing takes it away again. */
export function complain(text) {
  clearTimeout(errorTimer);
  errorLine.textContent = text;
  if (text) errorTimer = setTimeout(() => complain(""), ERROR_MS);
}
