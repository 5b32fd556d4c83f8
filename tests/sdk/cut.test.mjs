// A stream that a policy cuts is a legal answer to the SDKs, and one that was asked for twice is a single answer.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import * as c from './common.mjs';

// The configuration has policies for these models: on_event cuts the first by its budget, the second without a reason, on_text
// the others; one more meets a 503 first.
const CUT = { 'cut-budget': 'length', 'cut-words': 'content_filter', 'cut-text-budget': 'length', 'cut-text': 'content_filter' };

async function chat(model, options = c.ask()) {
  const seen = { text: '', roles: 0, finish: [] };
  const stream = await c.openai.chat.completions.create({ ...c.chatBody, model, stream: true }, options);
  for await (const chunk of stream) {
    for (const choice of chunk.choices) {
      seen.text += choice.delta.content ?? '';
      if (choice.delta.role) seen.roles++;
      if (choice.finish_reason) seen.finish.push(choice.finish_reason);
    }
  }
  return seen;
}

async function responses(model, options = c.ask()) {
  const seen = { text: '', created: 0, ends: [], reason: null };
  const stream = await c.openai.responses.create({ ...c.responsesBody, model, stream: true }, options);
  for await (const event of stream) {
    if (event.type === 'response.created') seen.created++;
    if (event.type === 'response.output_text.delta') seen.text += event.delta;
    if (/^response\.(completed|incomplete|failed)$|^error$/.test(event.type)) {
      seen.ends.push(event.type);
      seen.reason = event.response?.incomplete_details?.reason;
    }
  }
  return seen;
}

// finalMessage() throws unless the events add up to a message.
async function messages(model, options = c.ask()) {
  let starts = 0;
  const stream = c.anthropic.messages.stream({ ...c.messagesBody, model }, options);
  stream.on('streamEvent', (event) => { if (event.type === 'message_start') starts++; });
  const message = await stream.finalMessage();
  return { text: message.content.map((b) => b.text).join(''), stop: message.stop_reason, starts };
}

describe('a stream that a policy cuts', () => {
  for (const [model, finish] of Object.entries(CUT)) {
    it(`ends legally for chat: ${model}`, async () => {
      const whole = await chat('test-model');
      const seen = await chat(model);
      assert.deepEqual(seen.finish, [finish]);
      assert.ok(seen.text.length > 0 && seen.text.length < whole.text.length);
      assert.ok(whole.text.startsWith(seen.text));
    });
    it(`ends legally for responses: ${model}`, async () => {
      const whole = await responses('test-model');
      const seen = await responses(model);
      assert.equal(seen.ends.length, 1);
      if (finish === 'length') assert.equal(seen.reason, 'max_output_tokens');
      assert.notEqual(seen.ends[0], 'response.failed');
      assert.notEqual(seen.ends[0], 'error');
      assert.ok(seen.text.length > 0 && whole.text.startsWith(seen.text) && seen.text !== whole.text);
    });
    it(`ends legally for messages: ${model}`, async () => {
      const whole = await messages('test-model');
      const seen = await messages(model);
      assert.equal(seen.stop, finish === 'length' ? 'max_tokens' : 'refusal');
      assert.ok(seen.text.length > 0 && whole.text.startsWith(seen.text) && seen.text !== whole.text);
    });
  }
});

describe('an answer behind a failure', () => {
  it('is one answer for chat', async () => {
    const seen = await chat('fall-back');
    assert.deepEqual([seen.roles, seen.finish], [1, ['stop']]);
    assert.equal(seen.text, (await chat('test-model')).text);
  });
  it('is one answer for responses', async () => {
    const seen = await responses('fall-back');
    assert.deepEqual([seen.created, seen.ends], [1, ['response.completed']]);
    assert.equal(seen.text, (await responses('test-model')).text);
  });
  it('is one answer for messages', async () => {
    const seen = await messages('fall-back');
    assert.deepEqual([seen.starts, seen.stop], [1, 'end_turn']);
    assert.equal(seen.text, (await messages('test-model')).text);
  });
});

// The model's first upstream ends its body in the middle; another one goes on.
describe('a stream that breaks off', () => {
  it('is one answer for chat', async () => {
    const whole = await chat('test-model');
    const seen = await chat('break-off');
    assert.equal(seen.text, whole.text);
    assert.equal(seen.roles, 1);
    assert.deepEqual(seen.finish, ['stop']);
    const ids = new Set();
    const stream = await c.openai.chat.completions.create({ ...c.chatBody, model: 'break-off', stream: true }, c.ask());
    for await (const chunk of stream) ids.add(chunk.id);
    assert.equal(ids.size, 1);
    const runner = c.openai.chat.completions.stream({ ...c.chatBody, model: 'break-off' }, c.ask());
    assert.equal(await runner.finalContent(), whole.text);
  });
  it('is one answer for messages', async () => {
    const whole = await messages('test-model');
    const seen = await messages('break-off');
    assert.equal(seen.text, whole.text);
    assert.equal(seen.starts, 1);
    assert.equal(seen.stop, 'end_turn');
  });
});
