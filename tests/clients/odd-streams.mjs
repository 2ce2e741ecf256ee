// Many models, one after the other, read by one library. Arguments: base URL, which library. Standard input: JSON, a list
// of models. Writes what its user sees of each, one JSON value a line: text, calls, why it ended; `failed` where an
// error is shown or thrown, `broke` where the library itself could not go on.
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { HumanMessage } from '@langchain/core/messages';
import { ChatOpenAI } from '@langchain/openai';
import { generateText, streamText } from 'ai';
import OpenAI from 'openai';

const [baseURL, which] = process.argv.slice(2);
const apiKey = 'sk-any';
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: 'user', content: 'Hi' }];
// What a library throws because of what it reads, and not because it was told of an error.
const BROKEN = /TypeError|RangeError|SyntaxError|ReferenceError|Validation|InvalidResponseData|JSONParse|LengthFinish/;

const ofMessage = (message, finish) => ({
  text: message.content ?? '',
  calls: (message.tool_calls ?? []).filter((call) => call.type === 'function').map((call) => [call.function.name, call.function.arguments]),
  finish,
});
const ofAi = (text, calls, finish) => ({
  text,
  calls: calls.map((call) => [call.toolName, typeof call.input === 'string' ? call.input : JSON.stringify(call.input)]),
  finish: finish.replace('-', '_'),
});
const ofLangchain = (message) => ({
  text: typeof message.content === 'string' ? message.content : message.content.map((part) => part.text ?? '').join(''),
  calls: [
    ...(message.tool_calls ?? []).map((call) => [call.name, JSON.stringify(call.args)]),
    ...(message.invalid_tool_calls ?? []).map((call) => [call.name, call.args]),
  ],
  finish: message.response_metadata.finish_reason ?? message.additional_kwargs.finish_reason ?? '',
});

async function loop(model) {
  const seen = { text: '', calls: [], finish: '' };
  for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
    for (const choice of chunk.choices.filter((one) => one.index === 0)) {
      seen.text += choice.delta.content ?? '';
      seen.finish = choice.finish_reason ?? seen.finish;
      for (const call of choice.delta.tool_calls ?? []) {
        const known = (seen.calls[call.index] ??= ['', '']);
        known[0] += call.function?.name ?? '';
        known[1] += call.function?.arguments ?? '';
      }
    }
  }
  return seen;
}

async function helper(model) {
  const completion = await client.chat.completions.stream({ model, messages }).finalChatCompletion();
  return ofMessage(completion.choices[0].message, completion.choices[0].finish_reason);
}

async function whole(model) {
  const completion = await client.chat.completions.create({ model, messages });
  return ofMessage(completion.choices[0].message, completion.choices[0].finish_reason);
}

const streamed = (made) => async (model) => {
  const seen = { text: '', calls: [], finish: '' };
  for await (const part of streamText({ model: made(model), messages, maxRetries: 0, onError: () => {} }).fullStream) {
    if (part.type === 'text-delta') seen.text += part.text;
    if (part.type === 'tool-call') seen.calls.push(part);
    if (part.type === 'error') throw part.error;
    if (part.type === 'finish') seen.finish = part.finishReason;
  }
  return ofAi(seen.text, seen.calls, seen.finish);
};
const generated = (made) => async (model) => {
  const result = await generateText({ model: made(model), messages, maxRetries: 0 });
  return ofAi(result.text, result.toolCalls, result.finishReason);
};
const ofResponse = ({ status, error, output }) => {
  if (status === 'failed') throw new Error(error.message);
  const parts = output.filter((item) => item.type === 'message').flatMap((item) => item.content);
  const called = output.filter((item) => item.type === 'function_call' || item.type === 'custom_tool_call');
  return {
    text: parts.map((part) => part.text ?? part.refusal).join(''),
    calls: called.map((item) => [item.name, item.arguments ?? JSON.stringify({ input: item.input })]),
    finish: '',
  };
};

const openai = createOpenAI({ baseURL, apiKey }).chat;
const responses = createOpenAI({ baseURL, apiKey }).responses;
const compatible = createOpenAICompatible({ name: 'infron', baseURL, apiKey, includeUsage: true });
const anthropic = createAnthropic({ baseURL, apiKey });

const chat = (model) => new ChatOpenAI({ model, apiKey, configuration: { baseURL }, maxRetries: 0, useResponsesApi: false });
async function chunks(model) {
  let message;
  for await (const chunk of await chat(model).stream([new HumanMessage('Hi')])) message = message ? message.concat(chunk) : chunk;
  return ofLangchain(message);
}

const READERS = {
  'openai loop': loop,
  'openai helper': helper,
  'openai whole': whole,
  'ai openai': streamed(openai),
  'ai openai whole': generated(openai),
  'ai openai-compatible': streamed(compatible),
  'ai openai-compatible whole': generated(compatible),
  'ai anthropic': streamed(anthropic),
  'ai anthropic whole': generated(anthropic),
  'responses openai': async (model) => ofResponse(await client.responses.stream({ model, input: 'Hi' }).finalResponse()),
  'responses openai whole': async (model) => ofResponse(await client.responses.create({ model, input: 'Hi' })),
  'responses ai': streamed(responses),
  'responses ai whole': generated(responses),
  'langchain loop': chunks,
  'langchain whole': async (model) => ofLangchain(await chat(model).invoke([new HumanMessage('Hi')])),
};

let input = '';
for await (const piece of process.stdin) input += piece;
process.on('unhandledRejection', () => {}); // of promises that nobody waits for once the stream has told the same
globalThis.AI_SDK_LOG_WARNINGS = false;
for (const model of JSON.parse(input)) {
  let seen;
  try {
    seen = await READERS[which](model);
  } catch (error) {
    const name = error?.name === 'Error' ? error.constructor.name : error?.name ?? '';
    seen = { [BROKEN.test(name) ? 'broke' : 'failed']: `${name}: ${error?.message}`.slice(0, 200) };
  }
  console.log(JSON.stringify({ model, ...seen }));
}
