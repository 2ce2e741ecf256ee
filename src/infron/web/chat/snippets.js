// The same request in the words of those who will write it into a program: a table of languages.

/** @typedef {import("./types").Body} Body */

const KEY = "sk-infron-…";

/** @param {unknown} value */
const json = (value) => JSON.stringify(value, null, 2);

/**
 * JSON as Python writes it.
 * @param {unknown} value
 * @param {string} indent
 * @returns {string}
 */
function python(value, indent = "") {
  const deeper = `${indent}    `;
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) {
    return value.length ? `[\n${value.map((one) => `${deeper}${python(one, deeper)},\n`).join("")}${indent}]` : "[]";
  }
  if (typeof value === "object") {
    const all = Object.entries(value ?? {}).map(([name, one]) => `${deeper}${JSON.stringify(name)}: ${python(one, deeper)},\n`);
    return all.length ? `{\n${all.join("")}${indent}}` : "{}";
  }
  return JSON.stringify(value);
}

/**
 * What the OpenAI SDK for Python names itself, and what it must be handed as `extra_body`.
 * @param {Body} body
 */
function pythonArguments(body) {
  const { reasoning, ...named } = body;
  const lines = Object.entries(named).map(([name, one]) => `    ${name}=${python(one, "    ")},\n`);
  if (reasoning) lines.push(`    extra_body=${python({ reasoning }, "    ")},\n`);
  return lines.join("");
}

/** @type {Record<string, (base: string, body: Body) => string>} */
export const SNIPPETS = {
  curl: (base, body) => `curl -N ${base}/chat/completions \\
  -H "Authorization: Bearer ${KEY}" \\
  -H "Content-Type: application/json" \\
  -d '${json(body).replaceAll("'", "'\\''")}'
`,
  "Python, requests": (base, body) => `import json

import requests

headers = {"Authorization": "Bearer ${KEY}"}
body = ${python(body)}

with requests.post("${base}/chat/completions", headers=headers, json=body, stream=True) as response:
    response.raise_for_status()
    for line in response.iter_lines():
        if not line.startswith(b"data: ") or line == b"data: [DONE]":
            continue  # comments keep the connection open
        chunk = json.loads(line[6:])
        if "error" in chunk:
            raise RuntimeError(chunk["error"]["message"])
        print(chunk["choices"][0]["delta"].get("content") or "", end="", flush=True)
`,
  "Python, openai": (base, body) => `from openai import OpenAI

client = OpenAI(base_url="${base}", api_key="${KEY}")
stream = client.chat.completions.create(
${pythonArguments(body)})
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
`,
  "TypeScript, fetch": (base, body) => `const response = await fetch("${base}/chat/completions", {
  method: "POST",
  headers: { Authorization: "Bearer ${KEY}", "Content-Type": "application/json" },
  body: JSON.stringify(${json(body)}),
});
if (!response.ok || !response.body) throw new Error(await response.text());

let rest = "";
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + text).split("\\n");
  rest = lines.pop() ?? "";
  for (const line of lines) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") continue; // comments keep the connection open
    const chunk = JSON.parse(line.slice(6));
    if (chunk.error) throw new Error(chunk.error.message);
    process.stdout.write(chunk.choices[0].delta.content ?? "");
  }
}
`,
  "TypeScript, openai": (base, body) => `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base}", apiKey: "${KEY}" });
const stream = await client.chat.completions.create(${json({ ...body, stream: true })});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
}
`,
  "TypeScript, AI SDK": (base, body) => {
    const { model, messages, max_tokens, temperature, reasoning } = body;
    const settings = {
      ...(temperature === undefined ? {} : { temperature }),
      ...(max_tokens === undefined ? {} : { maxOutputTokens: max_tokens }),
      ...(reasoning === undefined ? {} : { providerOptions: { infron: { reasoning } } }),
      messages: messages.map(({ role, content }) => ({ role, content: aiParts(content) })),
    };
    return `import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { streamText } from "ai";

const infron = createOpenAICompatible({ name: "infron", baseURL: "${base}", apiKey: "${KEY}" });
const { textStream } = streamText({
  model: infron("${model}"),
  ...${json(settings)},
});
for await (const text of textStream) process.stdout.write(text);
`;
  },
};

/** @param {any} content */
function aiParts(content) {
  if (typeof content === "string") return content;
  return content.map((/** @type {any} */ part) =>
    part.type === "image_url" ? { type: "image", image: part.image_url.url } : part,
  );
}
