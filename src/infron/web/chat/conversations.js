// Conversations, kept in this browser alone.

/** @typedef {import("./types").Conversation} Conversation */

const PLACE = "infron-conversations";
const MOST = 200;

/** @returns {Conversation} */
export function fresh(model = "") {
  return {
    id: crypto.randomUUID?.() ?? String(Math.random()).slice(2),
    title: "", model, system: "", temperature: "", maxTokens: "", effort: "", messages: [], last: "",
  };
}

/** @returns {Conversation[]} newest first */
export function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(PLACE) ?? "[]");
    return Array.isArray(kept) ? kept.map((one) => ({ ...fresh(), ...one })) : [];
  } catch {
    return [];
  }
}

/**
 * Keep them, without pictures where they are too large. Whether everything could be kept.
 * @param {Conversation[]} all
 */
export function save(all) {
  const kept = all.filter((one) => one.messages.length).slice(0, MOST);
  const bare = kept.map((one) => ({ ...one, messages: one.messages.map((message) => ({ ...message, images: [] })) }));
  for (const some of [kept, bare]) {
    try {
      localStorage.setItem(PLACE, JSON.stringify(some));
      return some === kept;
    } catch {
      // the browser gives a page a few megabytes
    }
  }
  return false;
}

/** The request that asks for the next answer. */
export function bodyOf(/** @type {Conversation} */ { model, system, temperature, maxTokens, effort, messages, id }) {
  return {
    model,
    messages: [
      ...(system.trim() ? [{ role: "system", content: system }] : []),
      ...messages.filter(({ role, text, images }) => role === "user" || text || images.length).map(content),
    ],
    stream: true,
    ...(temperature === "" ? {} : { temperature: Number(temperature) }),
    ...(maxTokens === "" ? {} : { max_tokens: Number(maxTokens) }),
    ...(effort ? { reasoning: { effort } } : {}),
    session_id: id,
  };
}

/** @param {import("./types").Message} message */
function content({ role, text, images }) {
  if (role === "assistant" || !images.length) return { role, content: text };
  const pictures = images.map((url) => ({ type: "image_url", image_url: { url } }));
  return { role, content: [...(text ? [{ type: "text", text }] : []), ...pictures] };
}
