// OpenRouter's library for JavaScript, which checks every member of every answer. Arguments: base URL, what to do.
// Writes what its user sees, one JSON value a line.
import { OpenRouter } from '@openrouter/sdk';

const [url, what] = process.argv.slice(2);
const client = new OpenRouter({ serverURL: url, apiKey: 'sk-any', retryConfig: { strategy: 'none' } });
const see = (value) => console.log(JSON.stringify(value));
const question = { model: 'mock/any', messages: [{ role: 'user', content: 'Hi' }] };

async function chat() {
  const stream = await client.chat.send({ chatRequest: { ...question, stream: true } });
  for await (const chunk of stream) {
    if (chunk.error) see({ error: chunk.error.message, status: chunk.error.code });
    const content = chunk.choices[0]?.delta?.content;
    if (content) see({ text: content });
    if (chunk.usage) see({ usage: chunk.usage.totalTokens, id: chunk.id });
  }
}

async function all() {
  const whole = await client.chat.send({ chatRequest: question });
  see({ text: whole.choices[0].message.content, usage: whole.usage.totalTokens });
  for await (const page of await client.models.list({})) {
    const found = page.result.data.find((model) => model.id === 'acme/m');
    see({ model: found?.name, price: found?.pricing.completion });
  }
  const endpoints = await client.endpoints.list({ author: 'mock', slug: 'any' });
  see({ endpoints: endpoints.data.endpoints.map((one) => one.tag) });
  const key = await client.apiKeys.getCurrentKeyMetadata();
  see({ spent: key.data.usage });
  const credits = await client.credits.getCredits();
  see({ credits: credits.data.totalCredits, used: credits.data.totalUsage });
  const receipt = await client.generations.getGeneration({ id: whole.id });
  see({ receipt: receipt.data.tokensCompletion, cost: receipt.data.totalCost });
}

try {
  await (what === 'all' ? all() : chat());
  see({ end: true });
} catch (error) {
  see({ error: error.message, status: error.statusCode ?? null, kind: error.name });
}
