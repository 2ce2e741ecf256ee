// Vercel's AI SDK. Arguments: base URL, which of its providers. Writes what its user sees, one JSON value a line.
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { streamText } from 'ai';

const [baseURL, which] = process.argv.slice(2);
const model =
  which === 'openai'
    ? createOpenAI({ baseURL, apiKey: 'sk-any' }).chat('mock/any')
    : createOpenAICompatible({ name: 'infron', baseURL, apiKey: 'sk-any', includeUsage: true })('mock/any');
const see = (value) => console.log(JSON.stringify(value));
const controller = new AbortController();

const result = streamText({
  model,
  prompt: 'Hi',
  maxRetries: 0,
  abortSignal: controller.signal,
  onError: () => {},
});
for await (const part of result.fullStream) {
  if (part.type === 'text-delta') {
    see({ text: part.text });
    if (part.text === 'STOP') controller.abort();
  }
  if (part.type === 'error') see({ error: String(part.error?.message ?? part.error?.error?.message ?? part.error) });
  if (part.type === 'abort') see({ end: true });
  if (part.type === 'finish') {
    see({ usage: part.totalUsage.totalTokens ?? null });
    see({ end: part.finishReason !== 'error' });
  }
}
