// The official JavaScript client against a split system. usage: client.mjs BASE_URL MODEL TEST
// Without a TEST it lists the tests.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const [baseURL, model, name] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: 'unused', maxRetries: 0 });
const messages = [{ role: 'user', content: 'What did the ferryman find under the bridge?' }];
const prompt = 'On the second day the caravan';
const options = { model, temperature: 0, max_tokens: 24 };

async function collect(stream, pieceOf) {
  let text = '';
  let usage = null;
  for await (const chunk of stream) {
    for (const choice of chunk.choices) text += pieceOf(choice) ?? '';
    usage = chunk.usage ?? usage;
  }
  return { text, usage };
}

const tests = {
  async models() {
    const names = [];
    for await (const entry of client.models.list()) names.push(entry.id);
    assert.ok(names.includes(model));
  },

  async chat() {
    const answer = await client.chat.completions.create({ ...options, messages });
    assert.equal(answer.choices[0].message.role, 'assistant');
    assert.ok(answer.choices[0].message.content.length > 0);
    assert.ok(answer.usage.prompt_tokens > 5);
  },

  async chat_stream() {
    const whole = await client.chat.completions.create({ ...options, messages });
    const stream = await client.chat.completions.create({
      ...options, messages, stream: true, stream_options: { include_usage: true },
    });
    const { text, usage } = await collect(stream, (choice) => choice.delta.content);
    assert.equal(text, whole.choices[0].message.content);
    assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
  },

  async completion() {
    const answer = await client.completions.create({ ...options, prompt });
    assert.ok(answer.choices[0].text.length > 0);
  },

  async completion_stream() {
    const whole = await client.completions.create({ ...options, prompt });
    const stream = await client.completions.create({ ...options, prompt, stream: true });
    const { text } = await collect(stream, (choice) => choice.text);
    assert.equal(text, whole.choices[0].text);
  },

  async errors() {
    await assert.rejects(
      client.completions.create({ ...options, prompt, max_tokens: 0 }),
      (error) => error instanceof OpenAI.BadRequestError && error.param === 'max_tokens');
    await assert.rejects(
      client.completions.create({ ...options, prompt, model: 'no-such-model' }),
      (error) => error instanceof OpenAI.NotFoundError);
    await tests.completion();
  },

  async cancellation() {
    const stream = await client.completions.create({
      ...options, prompt, stream: true, max_tokens: 4000, ignore_eos: true,
    });
    let seen = 0;
    for await (const _ of stream) {
      seen += 1;
      if (seen === 3) break;
    }
    assert.equal(seen, 3);
    const aborting = new AbortController();
    const late = client.completions.create(
      { ...options, prompt: `${prompt} `.repeat(400), max_tokens: 4000, ignore_eos: true },
      { signal: aborting.signal });
    setTimeout(() => aborting.abort(), 30);
    await assert.rejects(late, OpenAI.APIUserAbortError);
  },
};

if (name === undefined) {
  console.log(Object.keys(tests).join('\n'));
} else {
  await tests[name]();
}
