// The gateway's API as this page uses it. All addresses are relative, so that a proxy may put the page below a path.

import { SseReader } from "./sse.js";

/** What the gateway refused, or what broke in a stream. `status` 0: it was not reached. */
export class GatewayError extends Error {
  /**
   * @param {string} message
   * @param {number} status
   * @param {string} [code]
   */
  constructor(message, status, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** @param {string} key */
function headers(key) {
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

/**
 * @param {string} address
 * @param {string} key
 * @param {RequestInit} [more]
 */
async function asked(address, key, more = {}) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(address, { headers: headers(key), cache: "no-store", ...more });
  } catch (error) {
    if (more.signal?.aborted) throw error;
    throw new GatewayError("The gateway cannot be reached. Is it still running?", 0);
  }
  if (response.ok) return response;
  let message = `The gateway answered ${response.status}.`;
  let code = "";
  try {
    const { error } = await response.json();
    message = String(error.message ?? message);
    code = String(error.code ?? "");
  } catch {
    // a proxy's page, perhaps: the status has to do
  }
  throw new GatewayError(message, response.status, code);
}

/**
 * @param {string} key
 * @returns {Promise<import("./types").Model[]>}
 */
export async function models(key) {
  return (await (await asked("v1/models", key)).json()).data;
}

/**
 * What `once` finds, tried again until it finds something; `last`: it will not be asked again.
 * @template Found
 * @param {number} patience ms
 * @param {(last: boolean) => Promise<Found | undefined>} once
 */
async function patiently(patience, once) {
  const until = Date.now() + patience;
  for (let pause = 40; ; pause = Math.min(2 * pause, 1000)) {
    const last = Date.now() >= until;
    const found = await once(last);
    if (found !== undefined || last) return found;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/**
 * The receipt, as soon as it is settled; as it is then, if that takes longer than `patience` ms.
 * @param {string} id
 * @param {string} key
 * @param {number} patience
 * @returns {Promise<import("./types").Receipt | undefined>}
 */
export function receipt(id, key, patience) {
  return patiently(patience, async (last) => {
    try {
      const { data } = await (await asked(`v1/generation?id=${encodeURIComponent(id)}`, key)).json();
      return data.outcome !== null || last ? data : undefined;
    } catch (error) {
      // A stream that was stopped at once may not be written down yet.
      if (!(error instanceof GatewayError) || error.status !== 404 || last) throw error;
    }
  });
}

/**
 * The newest generation of a session, later than `before`: for a stream that was stopped before it had told its id.
 * @param {string} session
 * @param {string} before ids are in the order of their time
 * @param {string} key
 * @param {number} patience
 * @returns {Promise<string | undefined>}
 */
export function newest(session, before, key, patience) {
  return patiently(patience, async () => {
    const { data } = await (await asked("v1/generations?limit=20", key)).json();
    return data.find((/** @type {any} */ one) => one.session_id === session && one.id > before)?.id;
  });
}

/**
 * Ask, and tell what comes. Ends when the stream has ended; throws GatewayError, or what the signal was aborted with.
 * @param {object} body of a chat completion
 * @param {string} key
 * @param {AbortSignal} signal
 * @param {(told: import("./types").Told) => void} tell
 */
export async function ask(body, key, signal, tell) {
  const response = await asked("v1/chat/completions", key, { method: "POST", body: JSON.stringify(body), signal });
  tell({ head: response.headers.get("x-generation-id") ?? "" });
  if (!response.body) throw new GatewayError("The answer has no body.", 0);
  const bytes = response.body.getReader();
  const decoder = new TextDecoder();
  const lines = new SseReader();
  let finished = false;
  for (;;) {
    /** @type {ReadableStreamReadResult<Uint8Array>} */
    let piece;
    try {
      piece = await bytes.read();
    } catch (error) {
      if (signal.aborted) throw error;
      throw new GatewayError("The connection broke before the answer was complete.", 0);
    }
    if (piece.done) break;
    for (const line of lines.read(decoder.decode(piece.value, { stream: true }))) {
      if ("comment" in line) tell({ comment: line.comment });
      else if (line.data !== "[DONE]") finished = chunk(JSON.parse(line.data), tell) || finished;
    }
  }
  if (!finished) throw new GatewayError("The stream ended before the answer was complete.", 0);
  tell({ end: true });
}

/**
 * One chunk of the stream. Whether it says that the answer is complete.
 * @param {any} told
 * @param {(told: import("./types").Told) => void} tell
 */
function chunk(told, tell) {
  if (told.error) {
    const status = Number(told.error.metadata?.status ?? 0);
    throw new GatewayError(String(told.error.message ?? "The answer failed."), status, String(told.error.code ?? ""));
  }
  const choice = told.choices?.[0];
  const delta = choice?.delta ?? {};
  const thinking = delta.reasoning ?? delta.reasoning_content;
  if (thinking) tell({ thinking });
  if (delta.content) tell({ text: delta.content });
  if (delta.refusal) tell({ text: delta.refusal });
  for (const image of delta.images ?? []) if (image?.image_url?.url) tell({ image: image.image_url.url });
  if (told.usage) tell({ usage: told.usage });
  if (choice?.finish_reason) tell({ finish: choice.finish_reason });
  return Boolean(choice?.finish_reason);
}
