// Markdown while it is being written: headings, lists, tables, quotes, code, links. What a model says is only ever text:
// it becomes elements that are made here, never HTML; nothing is fetched; links lead to http, https and mailto alone.

import { copyButton, element } from "./elements.js";

/** @typedef {import("./types").Block} Block */

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)(?:\s+#+)?\s*$/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const MOST_NESTED = 12;
const MOST_INLINE = 20_000; // characters of one paragraph in which marks are looked for

/**
 * The blocks of a text, and where each begins.
 * @param {string[]} lines
 * @returns {{block: Block, at: number}[]}
 */
export function blocks(lines) {
  /** @type {{block: Block, at: number}[]} */
  const all = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const from = at;
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    if (!line.trim()) {
      at += 1;
      continue;
    }
    /** @type {Block} */
    let block;
    if (fence) {
      const [, mark, note] = fence;
      const body = [];
      for (at += 1; at < lines.length && !closes(lines[at], mark); at += 1) body.push(lines[at]);
      at += 1;
      block = { kind: "code", lines: body, note: note.trim() };
    } else if (heading) {
      at += 1;
      block = { kind: "heading", lines: [heading[2]], note: String(heading[1].length) };
    } else if (RULE.test(line)) {
      at += 1;
      block = { kind: "rule", lines: [] };
    } else if (QUOTE.test(line)) {
      const body = [];
      for (; at < lines.length && QUOTE.test(lines[at]); at += 1) body.push(lines[at].replace(QUOTE, ""));
      block = { kind: "quote", lines: body };
    } else if (ITEM.test(line)) {
      for (at += 1; at < lines.length && listGoesOn(lines, at); at += 1);
      block = { kind: "list", lines: lines.slice(from, at) };
    } else if (line.includes("|") && at + 1 < lines.length && lines[at + 1].includes("-") && TABLE_RULE.test(lines[at + 1])) {
      for (at += 2; at < lines.length && lines[at].includes("|"); at += 1);
      block = { kind: "table", lines: lines.slice(from, at) };
    } else {
      for (at += 1; at < lines.length && lines[at].trim() && !begins(lines[at]); at += 1);
      block = { kind: "text", lines: lines.slice(from, at) };
    }
    all.push({ block, at: from });
  }
  return all;
}

/** @param {string} line */
function begins(line) {
  return FENCE.test(line) || HEADING.test(line) || QUOTE.test(line) || ITEM.test(line) || RULE.test(line);
}

/**
 * @param {string} line
 * @param {string} mark
 */
function closes(line, mark) {
  const end = line.trim();
  return end.length >= mark.length && end === mark[0].repeat(end.length);
}

/**
 * @param {string[]} lines
 * @param {number} at
 */
function listGoesOn(lines, at) {
  if (lines[at].trim()) return ITEM.test(lines[at]) || /^\s/.test(lines[at]) || (!!lines[at - 1].trim() && !begins(lines[at]));
  return at + 1 < lines.length && (ITEM.test(lines[at + 1]) || /^\s{2,}\S/.test(lines[at + 1]));
}

/**
 * @param {Block} block
 * @param {number} depth
 * @returns {HTMLElement}
 */
export function rendered({ kind, lines, note = "" }, depth = 0) {
  if (kind === "heading") {
    // Below the page's own headings.
    const tag = /** @type {"h3"} */ (`h${Math.min(6, Number(note) + 2)}`);
    return element(tag, {}, ...inline(lines[0]));
  }
  if (kind === "rule") return element("hr");
  if (kind === "code") return code(lines.join("\n"), note);
  if (kind === "table") return table(lines);
  if (depth < MOST_NESTED) {
    if (kind === "quote") return element("blockquote", {}, ...nested(lines, depth));
    if (kind === "list") return list(lines, depth);
  }
  return element("p", {}, ...inline(lines.join("\n")));
}

/**
 * @param {string[]} lines
 * @param {number} depth
 */
function nested(lines, depth) {
  return blocks(lines).map(({ block }) => rendered(block, depth + 1));
}

/**
 * @param {string} text
 * @param {string} language
 */
function code(text, language) {
  const name = language.split(/\s/)[0].slice(0, 30);
  const head = element("div", { class: "code-head" }, element("span", {}, name), copyButton(() => text));
  return element("div", { class: "code" }, head, element("pre", { tabindex: 0 }, element("code", {}, text)));
}

/**
 * @param {string[]} lines
 * @param {number} depth
 */
function list(lines, depth) {
  const first = ITEM.exec(lines[0]);
  const [, indent = "", mark = "-"] = first ?? [];
  /** @type {{lines: string[]}[]} */
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length <= indent.length + 1) items.push({ lines: [item[3]] });
    else items[items.length - 1].lines.push(line.replace(/^(?: {1,4}|\t)/, ""));
  }
  const ordered = /\d/.test(mark);
  const made = items.map((item) => {
    const inside = blocks(item.lines);
    const tight = inside.length && inside[0].block.kind === "text";
    const head = tight ? inline(inside[0].block.lines.join("\n")) : [];
    return element("li", {}, ...head, ...inside.slice(tight ? 1 : 0).map(({ block }) => rendered(block, depth + 1)));
  });
  return ordered ? element("ol", { start: parseInt(mark) }, ...made) : element("ul", {}, ...made);
}

/** @param {string[]} lines */
function table(lines) {
  const [head, rule, ...rows] = lines.map(cells);
  const sides = rule.map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "left"));
  const row = (/** @type {"th" | "td"} */ tag, /** @type {string[]} */ all) =>
    element("tr", {}, ...head.map((_, at) => element(tag, { class: sides[at] ?? "left" }, ...inline(all[at] ?? ""))));
  const body = element("tbody", {}, ...rows.map((all) => row("td", all)));
  return element("div", { class: "wide", tabindex: 0 }, element("table", {}, element("thead", {}, row("th", head)), body));
}

/** @param {string} line */
function cells(line) {
  const all = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "").split(/(?<!\\)\|/);
  return all.map((cell) => cell.trim().replaceAll("\\|", "|"));
}

// One mark of a line: an escape, code, a link or picture, a bare address, strong, emphasis, strike, a hard break.
const MARK =
  /\\([\\`*_{}[\]()#+\-.!~>|])|(`+)(?!`)|!?\[([^[\]\n]{0,500})\]\(<?([^\s()<>]{1,2000}(?:\([^\s()<>]*\))?[^\s()<>]*)>?(?:\s+"[^"\n]{0,500}")?\)|<?(https?:\/\/[^\s<>"`]{1,2000})>?|(\*\*\*|\*\*|\*|___|__|_|~~)|( {2,}\n|\n)/g;
const TAGS = /** @type {Record<string, ("strong" | "em" | "del")[]>} */ ({
  "***": ["strong", "em"], ___: ["strong", "em"], "**": ["strong"], __: ["strong"], "*": ["em"], _: ["em"], "~~": ["del"],
});

/**
 * The nodes of a paragraph's text.
 * @param {string} text
 * @param {number} depth
 * @returns {(Node | string)[]}
 */
export function inline(text, depth = 0) {
  if (text.length > MOST_INLINE || depth > MOST_NESTED) return [text];
  /** @type {(Node | string)[]} */
  const nodes = [];
  /** @type {Set<string>} marks that nothing closes from here on */
  const open = new Set();
  let at = 0;
  const mark = new RegExp(MARK.source, "g");
  for (let match = mark.exec(text); match; match = mark.exec(text)) {
    const [whole, escaped, ticks, label, target, address, stress, end] = match;
    let node = /** @type {Node | string | null} */ (null);
    let until = match.index + whole.length;
    if (escaped) node = escaped;
    else if (ticks) {
      const close = closing(text, ticks, until, open);
      if (close >= 0) {
        node = element("code", {}, text.slice(until, close).replaceAll("\n", " ").replace(/^ (.*) $/, "$1"));
        until = close + ticks.length;
      }
    } else if (target) node = link(target, label || target, depth);
    else if (address) {
      const bare = address.replace(/[.,;:!?'")\]*_]+$/, "");
      node = link(bare, bare, depth);
      until = whole.startsWith("<") ? until : match.index + bare.length;
    } else if (end) node = element("br");
    else if (stress && opens(text, match.index, stress)) {
      const close = closing(text, stress, until, open);
      if (close > until) {
        const inner = inline(text.slice(until, close), depth + 1);
        node = TAGS[stress].reduceRight((inside, tag) => [element(tag, {}, ...inside)], inner)[0];
        until = close + stress.length;
      }
    }
    if (node === null) continue;
    if (match.index > at) nodes.push(text.slice(at, match.index));
    nodes.push(node);
    at = mark.lastIndex = until;
  }
  if (at < text.length) nodes.push(text.slice(at));
  return nodes;
}

/**
 * Where the mark is closed; -1: nowhere, which is looked up once for each mark.
 * @param {string} text
 * @param {string} mark
 * @param {number} from
 * @param {Set<string>} open
 */
function closing(text, mark, from, open) {
  if (open.has(mark)) return -1;
  for (let close = text.indexOf(mark, from); close >= 0; close = text.indexOf(mark, close + mark.length)) {
    const alone = text[close - 1] !== mark[0] && text[close + mark.length] !== mark[0];
    const sits = mark[0] === "`" || (/\S/.test(text[close - 1] ?? " ") && !(mark[0] === "_" && /\w/.test(text[close + mark.length] ?? "")));
    if (alone && sits && text[close - 1] !== "\\") return close;
  }
  open.add(mark);
  return -1;
}

/**
 * @param {string} text
 * @param {number} at
 * @param {string} mark
 */
function opens(text, at, mark) {
  return /\S/.test(text[at + mark.length] ?? " ") && !(mark[0] === "_" && /\w/.test(text[at - 1] ?? " "));
}

/**
 * @param {string} target
 * @param {string} label
 * @param {number} depth
 */
function link(target, label, depth) {
  if (!/^(?:https?:\/\/|mailto:)/i.test(target)) return label;
  const attributes = { href: target, target: "_blank", rel: "noopener noreferrer nofollow" };
  return element("a", attributes, ...(label === target ? [label] : inline(label, depth + 1)));
}

/** A text that grows, as elements: of what is there already only the last block is made anew. */
export class MarkdownView {
  #from = 0; // lines before that are done
  #seen = "";

  /** @param {HTMLElement} target */
  constructor(target) {
    this.target = target;
  }

  /** @param {string} text */
  show(text) {
    if (text === this.#seen) return;
    if (!text.startsWith(this.#seen)) {
      this.target.replaceChildren();
      this.#from = 0;
    }
    this.#seen = text;
    const lines = text.slice(0, 1 << 20).replaceAll("\r\n", "\n").split("\n");
    const all = blocks(lines.slice(this.#from));
    if (this.target.lastChild) this.target.lastChild.remove();
    this.target.append(...all.map(({ block }) => rendered(block)));
    if (all.length) this.#from += all[all.length - 1].at;
  }
}
