// The chat page: its parts put together.

import { Answer } from "./answer.js";
import { bodyOf, fresh, load, save } from "./conversations.js";
import { element, found } from "./elements.js";
import { ended, ENDS, stopping } from "./facts.js";
import { ask, GatewayError, models, newest, receipt } from "./gateway.js";
import { AnswerView, userMessage } from "./messages.js";
import { Picker } from "./picker.js";
import { SNIPPETS } from "./snippets.js";

const KEY = "infron-key";
const MOST_IMAGE = 10_000_000; // bytes

const log = found("log", HTMLElement);
const prompt = found("prompt", HTMLTextAreaElement);
const sendButton = found("send", HTMLButtonElement);
const stopButton = found("stop", HTMLButtonElement);
const imageButton = found("image-add", HTMLButtonElement);
const imageFile = found("image-file", HTMLInputElement);
const keyButton = found("key-open", HTMLButtonElement);
const status = found("status", HTMLElement);
const picker = new Picker(found("model", HTMLInputElement), found("models", HTMLElement), chooseModel);

let conversations = load();
let here = conversations[0] ?? fresh();
/** @type {string[]} */
let pictures = [];
/** @type {AbortController | null} */
let running = null;
let key = sessionStorage.getItem(KEY) ?? "";

// ---- what is on the page

const doing = {
  edit(/** @type {number} */ at) {
    const { text, images } = here.messages[at];
    here.messages.length = at;
    prompt.value = text;
    pictures = images;
    showAll();
    prompt.focus();
  },
  again(/** @type {number} */ at) {
    here.messages.length = at;
    showAll();
    void answer();
  },
  fork(/** @type {number} */ at) {
    const copy = { ...structuredClone(here), id: fresh().id, title: `${here.title} (fork)` };
    copy.messages.length = at + 1;
    open(copy);
  },
};

function showAll() {
  log.replaceChildren(
    ...here.messages.map((message, at) => {
      if (message.role === "user") return userMessage(message, at, doing);
      const view = new AnswerView();
      view.settle(message, at, doing);
      return view.root;
    }),
  );
  if (!here.messages.length) {
    log.append(element("p", { class: "empty" }, "Ask a model something, and watch the answer come."));
  }
  showList();
  showPictures();
  picker.value = here.model;
  log.scrollTop = log.scrollHeight;
}

function showList() {
  const items = conversations.map((one) => {
    const name = element("button", { type: "button", class: "name", click: () => open(one), "aria-current": one === here }, one.title || "Untitled");
    const away = element("button", { type: "button", class: "plain", click: () => remove(one), title: "Delete" }, "✕", element("span", { class: "hidden" }, ` Delete ${one.title}`));
    return element("li", {}, name, away);
  });
  found("conversations", HTMLElement).replaceChildren(...items);
}

function showPictures() {
  const all = pictures.map((src, at) =>
    element("button", { type: "button", class: "plain", title: "Remove", click: () => (pictures.splice(at, 1), showPictures()) }, element("img", { src, alt: `Image ${at + 1}; press to remove it` })),
  );
  found("images", HTMLElement).replaceChildren(...all);
  imageButton.hidden = !takesImages();
}

/** @param {import("./types").Conversation} conversation */
function open(conversation) {
  halt();
  here = conversation;
  pictures = [];
  if (here.messages.length && !conversations.includes(here)) conversations.unshift(here);
  document.body.classList.remove("aside");
  keep();
  showAll();
  prompt.focus();
}

/** @param {import("./types").Conversation} conversation */
function remove(conversation) {
  conversations = conversations.filter((one) => one !== conversation);
  if (conversation === here) open(fresh(here.model));
  else showList();
  keep();
}

function keep() {
  if (!save(conversations)) say("This browser has no more room: pictures are not kept.");
}

/** @param {string} words for those who hear the page; once for each change */
function say(words) {
  status.textContent = words;
}

/** @param {string} id */
function chooseModel(id) {
  here.model = id;
  localStorage.setItem("infron-model", id);
  showPictures();
  keep();
}

// ---- asking

async function answer() {
  if (running || !here.model) return;
  const conversation = here;
  const control = (running = new AbortController());
  const { signal } = control;
  const view = new AnswerView();
  log.querySelector(".empty")?.remove();
  log.append(view.root);
  const told = new Answer(performance.now());
  busy(true);
  say("Waiting for the answer");
  let shown = /** @type {string} */ ("");
  const show = () => {
    const low = atEnd();
    view.show(told, performance.now());
    if (low) log.scrollTop = log.scrollHeight;
    if (told.state !== shown) say((shown = told.state) === "thinking" ? "The model is thinking" : shown === "writing" ? "The model is writing" : "Waiting for the answer");
  };
  let frame = 0;
  const clock = setInterval(show, 100);
  show();
  try {
    await ask(bodyOf(conversation), key, signal, (one) => {
      told.take(one, performance.now());
      frame ||= requestAnimationFrame(() => ((frame = 0), show()));
    });
  } catch (error) {
    told.end(signal.aborted ? "stopped" : "failed", performance.now());
    if (!signal.aborted) told.error = error instanceof Error ? error.message : String(error);
    if (error instanceof GatewayError && error.status === 401 && !told.id) askForKey();
  } finally {
    clearInterval(clock);
    cancelAnimationFrame(frame);
    view.show(told, performance.now());
    running = null;
    busy(false);
  }
  /** @type {import("./types").Message} */
  const message = { role: "assistant", text: told.text, thinking: told.thinking, images: told.images, model: conversation.model };
  const at = conversation.messages.push(message) - 1;
  const settle = () => {
    const low = atEnd();
    message.facts = ended(told);
    message.trouble = told.state === "stopped" ? stopping(told) : told.error;
    view.settle(message, at, doing);
    if (low) log.scrollTop = log.scrollHeight;
    keep();
  };
  settle();
  say(`${ENDS[/** @type {"done"} */ (told.state)]}. ${told.error}`);
  for (const patience of [3_000, 60_000]) {
    try {
      told.id ||= (told.state === "stopped" && (await newest(conversation.id, conversation.last, key, patience))) || "";
      if (told.id) told.receipt = (await receipt(told.id, key, patience)) ?? null;
    } catch {
      break; // the answer is here, and its receipt can be read later
    }
    conversation.last = told.id || conversation.last;
    settle();
    if (!told.id || told.receipt?.outcome) break;
  }
  if (told.state === "stopped") say(stopping(told));
}

function atEnd() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 80;
}

/** @param {boolean} is */
function busy(is) {
  sendButton.hidden = is;
  stopButton.hidden = !is;
  document.body.classList.toggle("busy", is);
}

function halt() {
  running?.abort();
}

function send() {
  const text = prompt.value.trim();
  if (running || !(text || pictures.length)) return;
  if (!here.model) {
    found("model", HTMLInputElement).focus();
    return;
  }
  here.title ||= (text || "Images").slice(0, 60);
  conversations = [here, ...conversations.filter((one) => one !== here)];
  here.messages.push({ role: "user", text, images: takesImages() ? pictures : [] });
  prompt.value = "";
  pictures = [];
  grow();
  keep();
  showAll();
  void answer();
}

// ---- images

function takesImages() {
  const model = picker.chosen;
  return !model || model.architecture.input_modalities.includes("image");
}

/** @param {Iterable<File>} files */
function addImages(files) {
  for (const file of files) {
    if (!/^image\/(?:png|jpeg|gif|webp)$/.test(file.type)) continue;
    if (!takesImages()) say("This model takes no images.");
    else if (file.size > MOST_IMAGE) say(`${file.name} is larger than 10 MB.`);
    else {
      const reader = new FileReader();
      reader.addEventListener("load", () => (pictures.push(String(reader.result)), showPictures()));
      reader.readAsDataURL(file);
    }
  }
}

// ---- the key

function askForKey() {
  const dialog = found("key", HTMLDialogElement);
  if (key) found("key-why", HTMLElement).textContent = "The gateway does not take this key. Is it whole, and still valid?";
  keyButton.hidden = false;
  if (!dialog.open) dialog.showModal();
}

async function list() {
  try {
    const all = await models(key);
    picker.models = all;
    if (!here.model) {
      const before = localStorage.getItem("infron-model");
      here.model = all.find((model) => model.id === before)?.id ?? all[0]?.id ?? "";
    }
    if (document.activeElement !== picker.field) picker.value = here.model;
    showPictures();
  } catch (error) {
    if (error instanceof GatewayError && error.status === 401) askForKey();
    else log.append(element("p", { class: "trouble" }, error instanceof Error ? error.message : String(error)));
  }
}

// ---- the dialogs

/** @type {[string, "system" | "temperature" | "maxTokens" | "effort"][]} */
const SETTINGS = [["system", "system"], ["temperature", "temperature"], ["max-tokens", "maxTokens"], ["effort", "effort"]];
const Field = /** @type {typeof HTMLInputElement} */ (/** @type {unknown} */ (HTMLElement));

function openSettings() {
  for (const [id, name] of SETTINGS) found(id, Field).value = here[name];
  found("settings", HTMLDialogElement).showModal();
}

function closeSettings() {
  for (const [id, name] of SETTINGS) here[name] = found(id, Field).value;
  keep();
}

function exportAll() {
  const data = new Blob([JSON.stringify(here, null, 2)], { type: "application/json" });
  const href = URL.createObjectURL(data);
  element("a", { href, download: `${(here.title || "conversation").replace(/[^\w-]+/g, "-")}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

let language = Object.keys(SNIPPETS)[0];

function openCode() {
  const draft = prompt.value.trim();
  const asked = here.messages.slice(0, here.messages.findLastIndex(({ role }) => role === "user") + 1);
  const messages = draft || !asked.length ? [...here.messages, { role: /** @type {const} */ ("user"), text: draft || "Hello!", images: pictures }] : asked;
  const { session_id, ...body } = bodyOf({ ...here, model: here.model || "author/model", messages });
  const base = new URL("v1", document.baseURI).href;
  const show = () => {
    found("code-text", HTMLElement).textContent = SNIPPETS[language](base, body);
    const tabs = Object.keys(SNIPPETS).map((name) =>
      element("button", { type: "button", role: "tab", "aria-selected": name === language ? "true" : "false", click: () => ((language = name), show()) }, name),
    );
    found("code-tabs", HTMLElement).replaceChildren(...tabs);
  };
  show();
  const dialog = found("code", HTMLDialogElement);
  if (!dialog.open) dialog.showModal();
}

// ---- keys, pointers, the clipboard

function grow() {
  prompt.style.height = "auto";
  prompt.style.height = `${Math.min(prompt.scrollHeight + 2, 260)}px`;
}

found("form", HTMLFormElement).addEventListener("submit", (event) => (event.preventDefault(), send()));
prompt.addEventListener("input", grow);
prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running && !document.querySelector("dialog[open]")) halt();
});
stopButton.addEventListener("click", halt);
found("fresh", HTMLButtonElement).addEventListener("click", () => open(fresh(here.model)));
found("toggle", HTMLButtonElement).addEventListener("click", ({ currentTarget }) => {
  const is = document.body.classList.toggle("aside");
  /** @type {HTMLElement} */ (currentTarget).setAttribute("aria-expanded", String(is));
});
found("settings-open", HTMLButtonElement).addEventListener("click", openSettings);
found("settings", HTMLDialogElement).addEventListener("close", closeSettings);
found("export", HTMLButtonElement).addEventListener("click", exportAll);
found("code-open", HTMLButtonElement).addEventListener("click", openCode);
found("code-copy", HTMLButtonElement).addEventListener("click", () => navigator.clipboard.writeText(found("code-text", HTMLElement).textContent ?? ""));
keyButton.addEventListener("click", () => found("key", HTMLDialogElement).showModal());
found("key-cancel", HTMLButtonElement).addEventListener("click", () => found("key", HTMLDialogElement).close());
found("key", HTMLDialogElement).addEventListener("close", ({ currentTarget }) => {
  const field = found("key-value", HTMLInputElement);
  if (/** @type {HTMLDialogElement} */ (currentTarget).returnValue === "use" && field.value.trim()) {
    key = field.value.trim();
    sessionStorage.setItem(KEY, key);
    field.value = "";
    void list();
  }
});
imageButton.addEventListener("click", () => imageFile.click());
imageFile.addEventListener("change", () => {
  addImages(imageFile.files ?? []);
  imageFile.value = "";
});
document.addEventListener("paste", (event) => addImages(event.clipboardData?.files ?? []));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  addImages(event.dataTransfer?.files ?? []);
});
globalThis.addEventListener("beforeunload", keep);

showAll();
void list();
prompt.focus();
