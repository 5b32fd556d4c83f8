// An application that doesn't read for a while: whatever a route does then, the SDK sees a stream that is well-formed to its end.
// Nobody waits for a time: the client reads its first event, then nothing until weir says that it has acted.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, it } from 'node:test';

import * as c from './common.mjs';

// Tokens: more bytes than the buffers of all kernels and of node take. The last event of the Responses API has them all
// once more, and may not be larger than a mebibyte.
const MANY = 100000;
const FEW = 50;

const text = (n) => Array.from({ length: n }, (_, i) => `t${i}`).join(' ');

function ask(headers) {
  return { signal: AbortSignal.timeout(100000), headers: { 'x-mock-numbered': 'true', ...headers } };
}

async function until(what, holds) {
  const end = Date.now() + 60000;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `waited in vain for ${what}`);
    await pause(20);
  }
}

// Reads one event, then none until `acted`, then all that is left.
async function read(stream, acted, take) {
  let first = true;
  for await (const event of stream) {
    take(event);
    if (first) await acted();
    first = false;
  }
}

const APIS = {
  chat: async (at, options, acted) => {
    const seen = { text: '', reasoning: '', events: 0, finish: [], usage: null };
    const stream = await at.openai.chat.completions.create(
      { ...c.chatBody, stream: true, stream_options: { include_usage: true } }, options);
    await read(stream, acted, (chunk) => {
      seen.events++;
      if (chunk.usage) seen.usage = chunk.usage.completion_tokens;
      for (const choice of chunk.choices) {
        seen.text += choice.delta.content ?? '';
        seen.reasoning += choice.delta.reasoning_content ?? '';
        if (choice.finish_reason) seen.finish.push(choice.finish_reason);
      }
    });
    return seen;
  },
  responses: async (at, options, acted) => {
    const seen = { text: '', reasoning: '', events: 0, finish: [], usage: null };
    let number = -1;
    const stream = await at.openai.responses.create({ ...c.responsesBody, stream: true }, options);
    await read(stream, acted, (event) => {
      seen.events++;
      assert.ok(!(event.sequence_number <= number), 'numbers rise');
      number = event.sequence_number ?? number;
      if (event.type === 'response.output_text.delta') seen.text += event.delta;
      if (event.type === 'response.reasoning_summary_text.delta') seen.reasoning += event.delta;
      if (event.type === 'response.completed') seen.finish.push('stop');
      if (event.type === 'response.incomplete' && event.response.incomplete_details.reason === 'max_output_tokens')
        seen.finish.push('length');
      if (/^response\.(failed|cancelled)$|^error$/.test(event.type)) seen.finish.push(event.type);
      seen.usage = event.response?.usage?.output_tokens ?? seen.usage;
    });
    return seen;
  },
  messages: async (at, options, acted) => {
    const seen = { text: '', reasoning: '', events: 0, finish: [], usage: null, open: 0 };
    const stream = await at.anthropic.messages.create({ ...c.messagesBody, max_tokens: 1000000, stream: true }, options);
    await read(stream, acted, (event) => {
      seen.events++;
      if (event.type === 'content_block_start') assert.equal(seen.open++, 0, 'one block at a time');
      if (event.type === 'content_block_stop') seen.open--;
      if (event.type === 'content_block_delta') {
        assert.equal(seen.open, 1, 'a delta stands in a block');
        seen.text += event.delta.text ?? '';
        seen.reasoning += event.delta.thinking ?? '';
      }
      if (event.type === 'message_delta') {
        seen.finish.push({ end_turn: 'stop', max_tokens: 'length' }[event.delta.stop_reason] ?? event.delta.stop_reason);
        seen.usage = event.usage.output_tokens;
      }
      if (event.type === 'message_stop') assert.equal(seen.open, 0, 'blocks end');
    });
    return seen;
  },
};

// What one application sees that wakes up when weir has done `what`.
async function slow(api, action, what, headers) {
  const at = c.slowly(action);
  const before = await at.metric(what);
  return APIS[api](at, ask(headers), () => until(what, async () => await at.metric(what) > before));
}

for (const api of Object.keys(APIS)) {
  describe(`an application that doesn't read: ${api}`, () => {
    it('is sent a legal end by `stop`', async () => {
      const seen = await slow(api, 'stop', 'weir_slow_client_actions_total{action="stop"}', { 'x-mock-tokens': String(MANY) });
      assert.deepEqual(seen.finish, ['length']);
      assert.ok(seen.text.length > 10000 && seen.text.length < text(MANY).length, `${seen.text.length} characters`);
      assert.ok(text(MANY).startsWith(seen.text));
      assert.ok(seen.usage > 0, `usage ${seen.usage}`);
    });

    it('gets every word by `coalesce`, in fewer events', async () => {
      const seen = await slow(api, 'coalesce', 'weir_coalesced_events_total', { 'x-mock-tokens': String(MANY) });
      assert.deepEqual(seen.finish, ['stop']);
      assert.ok(seen.text === text(MANY), 'the text differs');
      assert.ok(seen.events < MANY, `${seen.events} events`);
      assert.equal(seen.usage, MANY);
    });

    it('gets every word of the answer by `drop`, and less of the reasoning', async () => {
      const seen = await slow(api, 'drop', 'weir_slow_dropped_events_total',
        { 'x-mock-tokens': String(FEW), 'x-mock-reasoning': String(MANY) });
      assert.deepEqual(seen.finish, ['stop']);
      assert.equal(seen.text, text(FEW));
      assert.ok(seen.reasoning.length > 0);
      assert.ok(seen.events < MANY, `${seen.events} events`);
    });
  });
}
