// The OpenAI library for JavaScript. Arguments: base URL. Writes what its user sees, one JSON value a line.
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: process.argv[2], apiKey: 'sk-any', maxRetries: 0 });
const see = (value) => console.log(JSON.stringify(value));

try {
  const stream = await client.chat.completions.create({
    model: 'mock/any',
    messages: [{ role: 'user', content: 'Hi' }],
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    const content = chunk.choices[0]?.delta?.content;
    if (content) see({ text: content });
    if (chunk.usage) see({ usage: chunk.usage.total_tokens });
    if (content === 'STOP') break;
  }
  see({ end: true });
} catch (error) {
  see({ error: error.message, status: error.status ?? null });
}
