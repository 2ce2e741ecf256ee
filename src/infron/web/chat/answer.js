// One answer while it comes: which state it is in, what it says, and when. Pure: times are given.

/** @typedef {"connecting" | "processing" | "thinking" | "writing" | "done" | "stopped" | "failed"} State */

export class Answer {
  /** @type {State} */
  state = "connecting";
  id = "";
  text = "";
  thinking = "";
  /** @type {string[]} */
  images = [];
  finish = "";
  error = "";
  /** Comments that came: each shows that somebody is there. */
  comments = 0;
  /** Pieces of text, thinking and images. */
  pieces = 0;
  /** @type {import("./types").Usage | null} */
  usage = null;
  /** @type {import("./types").Receipt | null} */
  receipt = null;
  /** ms; 0: not yet */
  firstAt = 0;
  endedAt = 0;

  /** @param {number} startedAt ms */
  constructor(startedAt) {
    this.startedAt = startedAt;
  }

  get runs() {
    return !this.endedAt;
  }

  /**
   * @param {import("./types").Told} told
   * @param {number} now ms
   */
  take(told, now) {
    if ("head" in told) this.id = told.head;
    else if ("comment" in told) {
      this.comments += 1;
      if (this.state === "connecting") this.state = "processing";
    } else if ("thinking" in told) {
      this.thinking += told.thinking;
      this.#content("thinking", now);
    } else if ("text" in told) {
      this.text += told.text;
      this.#content("writing", now);
    } else if ("image" in told) {
      this.images.push(told.image);
      this.#content("writing", now);
    } else if ("usage" in told) this.usage = told.usage;
    else if ("finish" in told) this.finish = told.finish;
    else this.end("done", now);
  }

  /**
   * @param {"done" | "stopped" | "failed"} state
   * @param {number} now ms
   */
  end(state, now) {
    this.state = state;
    this.endedAt = now;
  }

  /**
   * Tokens a second: counted by the provider once it has ended, until then about one for each piece.
   * @param {number} now ms
   */
  speed(now) {
    const seconds = ((this.endedAt || now) - this.firstAt) / 1000;
    const tokens = this.usage?.completion_tokens ?? this.pieces;
    return this.firstAt && seconds > 0.2 ? tokens / seconds : 0;
  }

  /**
   * @param {State} state
   * @param {number} now ms
   */
  #content(state, now) {
    this.state = state;
    this.pieces += 1;
    this.firstAt ||= now;
  }
}
