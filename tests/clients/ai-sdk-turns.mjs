// Vercel's AI SDK with OpenAI's provider as it is set by default: two turns of its user, a tool in the first. Arguments:
// base URL. Writes what its user sees, one JSON value a line.
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';

const model = createOpenAI({ baseURL: process.argv[2], apiKey: 'sk-any' })('mock/any');
const weather = tool({
  inputSchema: jsonSchema({ type: 'object', properties: { city: { type: 'string' } } }),
  execute: async ({ city }) => `Rain in ${city}.`,
});
const settings = { model, tools: { weather }, stopWhen: stepCountIs(3), maxRetries: 0 };
const see = (value) => console.log(JSON.stringify(value));

const messages = [{ role: 'user', content: 'How is the weather?' }];
const first = streamText({ ...settings, messages, onError: ({ error }) => see({ error: String(error?.message ?? error) }) });
see({ text: await first.text });
messages.push(...(await first.response).messages, { role: 'user', content: 'And tomorrow?' });
const second = await generateText({ ...settings, messages });
see({ text: second.text });
see({ usage: second.usage.totalTokens });
