// Anthropic Messages through weir.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import * as c from './common.mjs';

const tools = [{
  name: 'get_level', description: 'The water level.',
  input_schema: { type: 'object', properties: { river: { type: 'string' } }, required: ['river'] },
}];
const thinking = { type: 'enabled', budget_tokens: 1024 };

const blank = () => ({ text: '', thoughts: '', args: '', tool: null, stop: null, usage: null, last: null });

// Fills `seen` as events arrive, so that a caller knows what came before an error.
async function readStream(options, more = {}, seen = blank()) {
  const stream = await c.anthropic.messages.create({ ...c.messagesBody, stream: true, ...more }, options);
  for await (const event of stream) {
    seen.last = event.type;
    if (event.type === 'content_block_start' && event.content_block.type === 'tool_use') {
      seen.tool = event.content_block.name;
    }
    if (event.type === 'content_block_delta') {
      seen.text += event.delta.text ?? '';
      seen.thoughts += event.delta.thinking ?? '';
      seen.args += event.delta.partial_json ?? '';
    }
    if (event.type === 'message_delta') {
      seen.stop = event.delta.stop_reason;
      seen.usage = event.usage;
    }
  }
  return seen;
}

describe('anthropic messages', () => {
  it('streams a whole answer', async () => {
    const seen = await readStream(c.ask());
    assert.equal(seen.last, 'message_stop');
    assert.equal(seen.stop, 'end_turn');
    assert.ok(seen.text.length > c.TOKENS);
    assert.ok(seen.usage.output_tokens > 0);
  });

  it('streams the same text as it answers whole', async () => {
    const whole = await c.anthropic.messages.create(c.messagesBody, c.ask());
    const seen = await readStream(c.ask());
    assert.equal(whole.content.find((b) => b.type === 'text').text, seen.text);
    assert.equal(whole.stop_reason, 'end_turn');
  });

  it('streams a tool call whose input parses', async () => {
    const seen = await readStream(c.ask({ 'x-mock-tool': '1' }), { tools });
    assert.equal(seen.last, 'message_stop');
    assert.equal(seen.stop, 'tool_use');
    assert.equal(seen.tool, 'get_level');
    assert.equal(typeof JSON.parse(seen.args), 'object');
  });

  it('streams thinking before the text', async () => {
    const seen = await readStream(c.ask({ 'x-mock-reasoning': '12' }), { thinking });
    assert.equal(seen.last, 'message_stop');
    assert.ok(seen.thoughts.length > 0);
    assert.ok(seen.text.length > c.TOKENS);
  });

  it('accumulates with the stream helper', async () => {
    const final = await c.anthropic.messages.stream(c.messagesBody, c.ask()).finalMessage();
    const seen = await readStream(c.ask());
    assert.equal(final.stop_reason, 'end_turn');
    assert.equal(final.content.map((b) => b.text ?? '').join(''), seen.text);
  });

  it('streams the same text from writes of 2 bytes', async () => {
    const cut = await readStream(c.ask({ 'x-mock-write-bytes': '2' }));
    assert.equal(cut.text, (await readStream(c.ask())).text);
    assert.equal(cut.last, 'message_stop');
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

  for (const fault of [...c.STREAM_FAULTS, ...c.EARLY_FAULTS]) {
    it(`reports ${fault} from the stream helper`, async () => {
      await c.assertFails(fault, () => c.anthropic.messages.stream(c.messagesBody, c.faultHeaders(fault)).finalText());
    });
  }

  for (const fault of c.WHOLE_FAULTS) {
    it(`reports ${fault} of a whole answer`, async () => {
      await c.assertFails(fault, async () =>
        (await c.anthropic.messages.create(c.messagesBody, c.faultHeaders(fault))).content);
    });
  }

  it('reports 429 as a rate limit', async () => {
    const error = await c.assertFails('429', () => readStream(c.faultHeaders('status:429')));
    c.assertStatus(error, 429);
    assert.ok(error instanceof Anthropic.RateLimitError);
  });

  it('reports 500 as a server error', async () => {
    const error = await c.assertFails('500', () => readStream(c.faultHeaders('status:500')));
    c.assertUpstreamStatus(error);
  });
});
