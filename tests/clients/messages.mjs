// Anthropic's library and Vercel's AI SDK on the Messages API. Arguments: base URL without /v1, how many variants of an
// answer there are. Writes of each client and variant what its user has at the end, one JSON value a line.
import { createAnthropic } from '@ai-sdk/anthropic';
import Anthropic from '@anthropic-ai/sdk';
import { jsonSchema, streamText, tool } from 'ai';

const [baseURL, count] = process.argv.slice(2);
globalThis.AI_SDK_LOG_WARNINGS = false;
const own = new Anthropic({ baseURL, apiKey: 'sk-any', maxRetries: 0 });
const inputSchema = jsonSchema({ type: 'object', properties: { city: { type: 'string' } } });

async function anthropic(headers) {
  const seen = { text: '', thinking: '' };
  const stream = own.messages.stream({ model: 'mock/any', max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] }, { headers });
  stream.on('text', (text) => (seen.text += text));
  stream.on('thinking', (text) => (seen.thinking += text));
  const { content, stop_reason, usage } = await stream.finalMessage();
  return { ...seen, content, stop_reason, usage };
}

async function sdk(headers) {
  const errors = [];
  const result = streamText({
    model: createAnthropic({ baseURL: `${baseURL}/v1`, apiKey: 'sk-any', headers })('mock/any'),
    prompt: 'Hi',
    maxRetries: 0,
    tools: { weather: tool({ inputSchema, execute: async () => 'Rain.' }) },
    onError: ({ error }) => errors.push(String(error?.message ?? error)),
  });
  const seen = { text: '', reasoning: '', calls: [], marks: [], errors };
  for await (const part of result.fullStream) {
    if (part.type === 'text-delta') seen.text += part.text;
    if (part.type === 'reasoning-delta') seen.reasoning += part.text;
    if (part.type === 'reasoning-delta' && part.providerMetadata) seen.marks.push(part.providerMetadata.anthropic);
    if (part.type === 'tool-call') seen.calls.push([part.toolName, part.input]);
    if (part.type === 'finish') seen.finish = [part.finishReason, part.totalUsage.totalTokens ?? null];
  }
  return seen;
}

for (const [client, run] of [['anthropic', anthropic], ['ai-sdk', sdk]]) {
  for (let variant = 0; variant < Number(count); variant++) {
    let seen;
    try {
      const late = new Promise((_, reject) => setTimeout(() => reject(new Error('no end')), 5000).unref());
      seen = await Promise.race([run({ 'x-variant': String(variant) }), late]);
    } catch (error) {
      seen = { failed: String(error?.message ?? error) };
    }
    console.log(JSON.stringify({ client, variant, seen }));
  }
}
