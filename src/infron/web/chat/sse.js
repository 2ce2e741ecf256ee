// Server-sent events, read as they come (WHATWG HTML, 9.2.6), with the comments that other readers throw away.

/** @typedef {{comment: string} | {data: string}} Line */

/** Text goes in as it arrives, whole events and comments come out. */
export class SseReader {
  #rest = "";
  /** @type {string[]} */
  #data = [];

  /**
   * @param {string} text
   * @returns {Line[]}
   */
  read(text) {
    /** @type {Line[]} */
    const told = [];
    const all = this.#rest + text;
    // A CR at the very end may be half of a CR LF.
    const lines = (all.endsWith("\r") ? all.slice(0, -1) : all).split(/\r\n|\r|\n/);
    this.#rest = (lines.pop() ?? "") + (all.endsWith("\r") ? "\r" : "");
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) told.push({ data: this.#data.join("\n") });
        this.#data = [];
      } else if (line.startsWith(":")) {
        told.push({ comment: line.slice(1).trim() });
      } else if (line.startsWith("data:")) {
        this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
    return told;
  }
}
