// OpenAI chat completions through weir.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import OpenAI from 'openai';

import * as c from './common.mjs';

const tools = [{
  type: 'function',
  function: { name: 'get_level', description: 'The water level.',
    parameters: { type: 'object', properties: { river: { type: 'string' } }, required: ['river'] } },
}];

const blank = () => ({ text: '', chunks: 0, finish: null, usage: null, name: null, args: '' });

// Fills `seen` as events arrive, so that a caller knows what came before an error.
async function readStream(options, more = {}, seen = blank()) {
  const stream = await c.openai.chat.completions.create({ ...c.chatBody, stream: true, ...more }, options);
  for await (const chunk of stream) {
    seen.chunks++;
    if (chunk.usage) seen.usage = chunk.usage;
    for (const choice of chunk.choices) {
      seen.text += choice.delta.content ?? '';
      for (const call of choice.delta.tool_calls ?? []) {
        seen.name ??= call.function?.name;
        seen.args += call.function?.arguments ?? '';
      }
      if (choice.finish_reason) seen.finish = choice.finish_reason;
    }
  }
  return seen;
}

describe('openai chat', () => {
  it('streams a whole answer', async () => {
    const seen = await readStream(c.ask());
    assert.equal(seen.finish, 'stop');
    assert.ok(seen.chunks >= c.TOKENS, `${seen.chunks} chunks`);
    assert.ok(seen.text.length > c.TOKENS);
    assert.equal(seen.usage, null);
  });

  it('streams the same text as it answers whole', async () => {
    const whole = await c.openai.chat.completions.create(c.chatBody, c.ask());
    const seen = await readStream(c.ask());
    assert.equal(whole.choices[0].message.content, seen.text);
    assert.equal(whole.choices[0].finish_reason, 'stop');
    assert.ok(whole.usage.completion_tokens > 0);
  });

  it('streams usage when it is asked for', async () => {
    const seen = await readStream(c.ask(), { stream_options: { include_usage: true } });
    assert.equal(seen.finish, 'stop');
    assert.equal(seen.usage.total_tokens, seen.usage.prompt_tokens + seen.usage.completion_tokens);
    assert.ok(seen.usage.completion_tokens > 0);
  });

  it('streams a tool call whose arguments parse', async () => {
    const seen = await readStream(c.ask({ 'x-mock-tool': '1' }), { tools });
    assert.equal(seen.finish, 'tool_calls');
    assert.equal(seen.name, 'get_level');
    assert.equal(typeof JSON.parse(seen.args), 'object');
  });

  it('answers a tool call whole', async () => {
    const whole = await c.openai.chat.completions.create({ ...c.chatBody, tools }, c.ask({ 'x-mock-tool': '1' }));
    const [call] = whole.choices[0].message.tool_calls;
    assert.equal(call.function.name, 'get_level');
    JSON.parse(call.function.arguments);
  });

  it('accumulates with the stream helper', async () => {
    const runner = c.openai.chat.completions.stream({ ...c.chatBody, stream_options: { include_usage: true } }, c.ask());
    const final = await runner.finalChatCompletion();
    const seen = await readStream(c.ask());
    assert.equal(final.choices[0].message.content, seen.text);
    assert.ok(final.usage.completion_tokens > 0);
  });

  for (const bytes of [1, 7, 64]) {
    it(`streams the same text from writes of ${bytes} bytes`, async () => {
      const cut = await readStream(c.ask({ 'x-mock-write-bytes': String(bytes) }));
      const seen = await readStream(c.ask());
      assert.equal(cut.text, seen.text);
      assert.equal(cut.finish, 'stop');
    });
  }

  it('streams twenty at a time on kept connections', async () => {
    const want = await readStream(c.ask());
    const all = await Promise.all(Array.from({ length: 20 }, () => readStream(c.ask({ 'x-mock-rate': '400' }))));
    for (const seen of all) assert.equal(seen.text, want.text);
  });

  it('leaves nothing behind when the caller goes away', async () => {
    const stream = await c.openai.chat.completions.create({ ...c.chatBody, stream: true }, c.ask({ 'x-mock-rate': '20' }));
    for await (const chunk of stream) {
      assert.ok(chunk);
      break;
    }
    const seen = await readStream(c.ask());
    assert.equal(seen.finish, 'stop');
  });

  for (const fault of c.STREAM_FAULTS) {
    it(`reports ${fault} behind some of the answer`, async () => {
      const seen = blank();
      await c.assertFails(fault, () => readStream(c.faultHeaders(fault), {}, seen));
      assert.ok(seen.text.length > 0, 'nothing of the answer came before the error');
    });
  }

  for (const fault of c.EARLY_FAULTS) {
    it(`reports ${fault} as a status`, async () => {
      c.assertUpstreamStatus(await c.assertFails(fault, () => readStream(c.faultHeaders(fault))));
    });
  }

  it('takes an answer without its terminator only with all its text', async () => {
    const want = await readStream(c.ask());
    let seen = null;
    try {
      seen = await readStream(c.faultHeaders('no-done'));
    } catch (error) {
      assert.ok(error instanceof OpenAI.OpenAIError || error instanceof Error);
    }
    if (seen) assert.equal(seen.text, want.text);
  });

  for (const fault of c.WHOLE_FAULTS) {
    it(`reports ${fault} of a whole answer`, async () => {
      await c.assertFails(fault, async () =>
        (await c.openai.chat.completions.create(c.chatBody, c.faultHeaders(fault))).choices[0].message.content);
    });
  }

  it('reports 429 as a rate limit', async () => {
    const error = await c.assertFails('429', () => readStream(c.faultHeaders('status:429')));
    c.assertStatus(error, 429);
    assert.ok(error instanceof OpenAI.RateLimitError);
  });

  it('reports 500 as a server error', async () => {
    const error = await c.assertFails('500', () => readStream(c.faultHeaders('status:500')));
    c.assertUpstreamStatus(error);
  });
});
