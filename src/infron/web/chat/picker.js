// The model picker: a text field that searches, and a list below it (WAI-ARIA's combobox with a listbox).

import { element } from "./elements.js";

/** @typedef {import("./types").Model} Model */

const MOST = 60;

/** USD for a million tokens, from USD for one. */
function price(/** @type {string | undefined} */ usd) {
  const amount = Number(usd) * 1e6;
  return usd === undefined || !(amount >= 0) ? "?" : `$${Number(amount.toPrecision(3))}`;
}

/** @param {Model} model */
export function about(model) {
  const facts = [];
  if (model.context_length) facts.push(`${Math.round(model.context_length / 1000).toLocaleString("en")}k context`);
  const { prompt, completion } = model.pricing;
  const free = Number(prompt) === 0 && Number(completion) === 0;
  facts.push(free ? "free" : Number(prompt) >= 0 ? `${price(prompt)} in, ${price(completion)} out a million` : "price unknown");
  if (model.architecture.input_modalities.includes("image")) facts.push("reads images");
  facts.push(model.providers.map((one) => one.provider_slug).join(", "));
  return facts.join(" · ");
}

export class Picker {
  /** @type {Model[]} */
  #models = [];
  /** @type {Model[]} */
  #shown = [];
  #marked = 0;
  #chosen = "";

  /**
   * @param {HTMLInputElement} field
   * @param {HTMLElement} list
   * @param {(id: string) => void} choose
   */
  constructor(field, list, choose) {
    this.field = field;
    this.list = list;
    this.choose = choose;
    field.addEventListener("focus", () => (field.select(), this.#open("")));
    field.addEventListener("input", () => this.#open(field.value));
    field.addEventListener("blur", () => this.#close());
    field.addEventListener("keydown", (event) => this.#key(event));
  }

  /** @param {Model[]} models */
  set models(models) {
    this.#models = models;
    if (!this.list.hidden) this.#open(this.field.value);
  }

  get chosen() {
    return this.#models.find((model) => model.id === this.#chosen);
  }

  /** @param {string} id */
  set value(id) {
    this.#chosen = id;
    this.field.value = id;
    this.field.title = this.chosen ? about(this.chosen) : id;
  }

  /** @param {string} words */
  #open(words) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (/** @type {Model} */ { id, name, providers }) => {
      const all = `${id} ${name} ${providers.map((one) => one.provider_slug).join(" ")}`.toLowerCase();
      return wanted.every((word) => all.includes(word));
    };
    const all = this.#models.filter(fits);
    this.#shown = all.slice(0, MOST);
    this.#marked = Math.max(0, this.#shown.findIndex((model) => model.id === this.#chosen));
    const options = this.#shown.map((model, at) =>
      element(
        "div",
        { role: "option", id: `model-${at}`, mousedown: (/** @type {Event} */ event) => (event.preventDefault(), this.#take(model)) },
        element("strong", {}, model.id),
        element("small", {}, about(model)),
      ),
    );
    const rest = all.length - this.#shown.length;
    if (rest) options.push(element("div", { class: "note" }, `${rest} more: type to search`));
    if (!all.length) options.push(element("div", { class: "note" }, "No model has that in its name. Enter asks for it all the same."));
    this.list.replaceChildren(...options);
    this.list.hidden = false;
    this.field.setAttribute("aria-expanded", "true");
    this.#mark();
  }

  #mark() {
    for (const option of this.list.querySelectorAll("[role=option]")) {
      const is = option.id === `model-${this.#marked}`;
      option.setAttribute("aria-selected", String(is));
      if (is) option.scrollIntoView({ block: "nearest" });
    }
    if (this.#shown.length) this.field.setAttribute("aria-activedescendant", `model-${this.#marked}`);
    else this.field.removeAttribute("aria-activedescendant");
  }

  #close() {
    this.list.hidden = true;
    this.field.setAttribute("aria-expanded", "false");
    this.field.removeAttribute("aria-activedescendant");
    this.field.value = this.#chosen;
  }

  /** @param {Model} model */
  #take({ id }) {
    this.value = id;
    this.choose(id);
    this.#close();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { key } = event;
    if (key === "ArrowDown" || key === "ArrowUp") {
      if (this.list.hidden) this.#open("");
      else this.#marked = (this.#marked + (key === "ArrowDown" ? 1 : -1) + this.#shown.length) % Math.max(1, this.#shown.length);
      this.#mark();
    } else if (key === "Enter" && !this.list.hidden) {
      const typed = this.field.value.trim();
      if (this.#shown.length) this.#take(this.#shown[this.#marked]);
      else if (typed) {
        this.value = typed;
        this.choose(typed);
        this.#close();
      }
    } else if (key === "Escape" && !this.list.hidden) {
      event.stopPropagation();
      this.#close();
      return;
    } else return;
    event.preventDefault();
  }
}
