// OpenAI's library and Vercel's AI SDK on the Responses API. Arguments: base URL, how many variants of an answer there
// are. Writes of each client and variant what its user has at the end, one JSON value a line.
import { createOpenAI } from '@ai-sdk/openai';
import { jsonSchema, streamText, tool } from 'ai';
import OpenAI from 'openai';

const [baseURL, count] = process.argv.slice(2);
const own = new OpenAI({ baseURL, apiKey: 'sk-any', maxRetries: 0 });
const inputSchema = jsonSchema({ type: 'object', properties: { city: { type: 'string' } } });

async function openai(headers) {
  const stream = own.responses.stream({ model: 'mock/any', input: 'Hi' }, { headers });
  const response = await stream.finalResponse();
  return {
    text: response.output_text,
    reasoning: response.output.filter((item) => item.type === 'reasoning').map((item) => item.summary[0]?.text),
    calls: response.output.filter((item) => item.call_id).map((item) => [item.name, item.arguments ?? item.input]),
    status: response.status,
    usage: response.usage?.total_tokens ?? null,
  };
}

async function sdk(headers) {
  const ran = [];
  const errors = [];
  const result = streamText({
    model: createOpenAI({ baseURL, apiKey: 'sk-any', headers })('mock/any'),
    prompt: 'Hi',
    maxRetries: 0,
    tools: { weather: tool({ inputSchema, execute: async (input) => ran.push(input) && 'Rain.' }) },
    onError: ({ error }) => errors.push(String(error?.message ?? error)),
  });
  const seen = { text: '', reasoning: '', calls: [], sources: [], errors, ran };
  for await (const part of result.fullStream) {
    if (part.type === 'text-delta') seen.text += part.text;
    if (part.type === 'reasoning-delta') seen.reasoning += part.text;
    if (part.type === 'source') seen.sources.push(part.url);
    if (part.type === 'tool-call') seen.calls.push([part.toolName, part.input]);
    if (part.type === 'finish') seen.finish = [part.finishReason, part.totalUsage.totalTokens ?? null];
  }
  return seen;
}

for (const [client, run] of [['openai', openai], ['ai-sdk', sdk]]) {
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
