// The conversation on the page: what was said, and what can be done with it.

import { copyButton, element } from "./elements.js";
import { running } from "./facts.js";
import { MarkdownView } from "./markdown.js";

/** @typedef {import("./types").Message} Message */
/** @typedef {import("./types").Doing} Doing */

/**
 * @param {Message} message
 * @param {number} at
 * @param {Doing} doing
 */
export function userMessage({ text, images }, at, doing) {
  return element(
    "article",
    { class: "user", "aria-label": "You" },
    ...pictures(images),
    element("div", { class: "said" }, text),
    tools(element("button", { type: "button", class: "plain", click: () => doing.edit(at) }, "Edit"), copyButton(() => text)),
  );
}

/** An answer, as it comes and as it stays. */
export class AnswerView {
  #head = element("p", { class: "head" });
  #pulse = element("span", { class: "pulse", "aria-hidden": "true" });
  #words = element("span");
  #thinking = element("details", { class: "thinking", hidden: true }, element("summary", {}, "Thinking"));
  #thought = element("div");
  #body = element("div", { class: "markdown" });
  #images = element("div", { class: "pictures" });
  #trouble = element("p", { class: "trouble", hidden: true });
  #foot = element("p", { class: "facts", hidden: true });
  #markdown = new MarkdownView(this.#body);
  #comments = 0;
  root = element("article", { class: "answer", "aria-label": "Answer" });

  constructor() {
    this.#head.append(this.#pulse, this.#words);
    this.#thinking.append(this.#thought);
    this.root.append(this.#head, this.#thinking, this.#images, this.#body, this.#trouble, this.#foot);
  }

  /**
   * @param {import("./answer.js").Answer} answer
   * @param {number} now ms
   */
  show(answer, now) {
    this.root.dataset.state = answer.state;
    this.#words.textContent = running(answer, now);
    if (this.#comments !== answer.comments) {
      // Each comment is a sign of life, and is seen as one.
      this.#comments = answer.comments;
      this.#pulse.replaceChildren(element("i"));
      this.root.dataset.comments = String(answer.comments);
    }
    this.#content(answer.text, answer.thinking, answer.images);
    this.#thinking.open ||= answer.state === "thinking" && !answer.text;
    if (answer.text && answer.state === "writing") this.#fold();
  }

  #fold() {
    if (this.#thinking.dataset.folded) return;
    this.#thinking.dataset.folded = "yes";
    this.#thinking.open = false;
  }

  /**
   * @param {Message} message
   * @param {number} at
   * @param {Doing} doing
   */
  settle(message, at, doing) {
    const { text, thinking = "", images, facts = [], trouble = "" } = message;
    this.#head.hidden = true;
    this.#content(text, thinking, images);
    this.#fold();
    this.#trouble.hidden = !trouble;
    this.#trouble.textContent = trouble;
    this.#foot.hidden = !facts.length;
    this.#foot.textContent = [message.model, ...facts].filter(Boolean).join(" · ");
    this.root.querySelector(".tools")?.remove();
    this.root.append(
      tools(
        copyButton(() => text),
        element("button", { type: "button", class: "plain", click: () => doing.again(at) }, "Ask again"),
        element("button", { type: "button", class: "plain", click: () => doing.fork(at) }, "Fork from here"),
      ),
    );
  }

  /**
   * @param {string} text
   * @param {string} thinking
   * @param {string[]} images
   */
  #content(text, thinking, images) {
    this.#markdown.show(text);
    this.#thinking.hidden = !thinking;
    if (this.#thought.textContent !== thinking) this.#thought.textContent = thinking;
    if (this.#images.childElementCount !== images.length) this.#images.replaceChildren(...pictures(images));
  }
}

/** @param {(HTMLElement)[]} buttons */
function tools(...buttons) {
  return element("div", { class: "tools" }, ...buttons);
}

/** @param {string[]} images */
function pictures(images) {
  // Only what came in the answer itself: nothing is fetched from anywhere else.
  return images
    .filter((url) => /^data:image\/(?:png|jpeg|gif|webp);/.test(url))
    .map((src) => element("img", { src, alt: "Image in the conversation" }));
}
