// What is said about an answer: while it runs, and by its receipt. Pure.

/** @typedef {import("./answer.js").Answer} Answer */

/** @param {number} ms */
export function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}

/** @param {number} usd */
export function money(usd) {
  if (usd === 0) return "free";
  return `$${usd >= 0.01 ? usd.toFixed(4) : Number(usd.toPrecision(3)).toFixed(10).replace(/0+$/, "")}`;
}

/**
 * The line above an answer that runs.
 * @param {Answer} answer
 * @param {number} now ms
 */
export function running(answer, now) {
  const waited = duration(Math.floor((now - answer.startedAt) / 100) * 100);
  if (answer.state === "connecting") return `Connecting, ${waited}`;
  if (answer.state === "processing") return `The model is working on it, ${waited} so far`;
  const speed = answer.speed(now);
  const pace = `first token after ${duration(answer.firstAt - answer.startedAt)}${speed ? `, about ${speed.toFixed(0)} tokens/s` : ""}`;
  return `${answer.state === "thinking" ? "Thinking" : "Writing"}: ${pace}`;
}

/** What its end is called. */
export const ENDS = { done: "Done", stopped: "Stopped", failed: "Failed" };

/**
 * The facts below an answer that has ended, in order; each says one thing.
 * @param {Answer} answer
 * @returns {string[]}
 */
export function ended(answer) {
  const { receipt, usage } = answer;
  const facts = [ENDS[/** @type {"done"} */ (answer.state)] ?? answer.state];
  if (answer.finish === "length") facts.push("cut at the token limit");
  if (answer.finish === "content_filter") facts.push("cut by the provider's content filter");
  const provider = receipt?.provider_name;
  if (provider) facts.push(`served by ${provider}`);
  if (answer.firstAt) facts.push(`first token after ${duration(answer.firstAt - answer.startedAt)}`);
  const speed = answer.speed(answer.endedAt);
  if (speed) facts.push(`${speed.toFixed(0)} tokens/s`);
  const prompt = receipt?.tokens_prompt ?? usage?.prompt_tokens;
  const completion = receipt?.tokens_completion ?? usage?.completion_tokens;
  if (prompt != null && completion != null) facts.push(`${prompt} + ${completion} tokens${receipt?.estimated ? ", estimated" : ""}`);
  const cost = receipt ? receipt.total_cost : usage?.cost;
  if (receipt && cost == null && receipt.outcome) facts.push("price unknown");
  if (cost != null) facts.push(answer.state === "stopped" ? `${money(cost)} billed` : money(cost));
  for (const { provider, status, error_type } of receipt?.attempts ?? []) {
    facts.push(`before that ${provider} failed (${[status, error_type].filter(Boolean).join(", ")})`);
  }
  return facts;
}

/**
 * What stopping has done, as the receipt says it.
 * @param {Answer} answer
 */
export function stopping({ receipt, id }) {
  if (!receipt) return id ? "" : "It was stopped before the gateway had told its id.";
  if (receipt.outcome === null) return "It is still read to its end, for this provider bills for all of it; its receipt follows then.";
  const said = receipt.on_disconnect ?? "";
  if (receipt.outcome === "cancelled") {
    const fast = receipt.upstream_closed_ms == null ? "" : `, ${duration(Math.max(1, receipt.upstream_closed_ms))} after you left`;
    return `The provider was stopped${fast}: you pay for what was delivered. ${said}`;
  }
  if (receipt.outcome === "drained") return `This provider cannot be stopped: the answer was read to its end and is billed in full. ${said}`;
  return said;
}
