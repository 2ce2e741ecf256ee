// eventsource-parser. Arguments: base URL. Writes what its user sees, one JSON value a line.
import { createParser } from 'eventsource-parser';

const see = (value) => console.log(JSON.stringify(value));
const controller = new AbortController();
const response = await fetch(`${process.argv[2]}/chat/completions`, {
  method: 'POST',
  headers: { authorization: 'Bearer sk-any', 'content-type': 'application/json' },
  body: JSON.stringify({
    model: 'mock/any',
    messages: [{ role: 'user', content: 'Hi' }],
    stream: true,
    stream_options: { include_usage: true },
  }),
  signal: controller.signal,
});

const parser = createParser({
  onEvent(event) {
    if (event.event || event.id) see({ unexpected: event });
    if (event.data === '[DONE]') return see({ end: true });
    const frame = JSON.parse(event.data);
    const content = frame.choices?.[0]?.delta?.content;
    if (content) see({ text: content });
    if (frame.usage) see({ usage: frame.usage.total_tokens });
    if (frame.error) see({ error: frame.error.message });
    if (content === 'STOP') controller.abort();
  },
  onComment: (comment) => see({ comment }),
  onError: (error) => see({ unexpected: error.message }),
});

try {
  const decoder = new TextDecoder();
  for await (const bytes of response.body) parser.feed(decoder.decode(bytes, { stream: true }));
} catch (error) {
  if (error.name !== 'AbortError') throw error;
}
