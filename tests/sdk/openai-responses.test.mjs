// OpenAI Responses through weir.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import OpenAI from 'openai';

import * as c from './common.mjs';

const tools = [{
  type: 'function', name: 'get_level', description: 'The water level.', strict: false,
  parameters: { type: 'object', properties: { river: { type: 'string' } }, required: ['river'] },
}];

const blank = () => ({ text: '', args: '', last: null, sequence: -1, response: null });

// Fills `seen` as events arrive, so that a caller knows what came before an error.
async function readStream(options, more = {}, seen = blank()) {
  const stream = await c.openai.responses.create({ ...c.responsesBody, stream: true, ...more }, options);
  for await (const event of stream) {
    if (typeof event.sequence_number === 'number') {
      assert.ok(event.sequence_number > seen.sequence, 'events in their order');
      seen.sequence = event.sequence_number;
    }
    seen.last = event.type;
    if (event.type === 'error' || event.type === 'response.failed') throw new Error(`stream reports ${event.type}`);
    if (event.type === 'response.output_text.delta') seen.text += event.delta;
    if (event.type === 'response.function_call_arguments.delta') seen.args += event.delta;
    if (event.type === 'response.completed') seen.response = event.response;
  }
  return seen;
}

describe('openai responses', () => {
  it('streams a whole answer', async () => {
    const seen = await readStream(c.ask());
    assert.equal(seen.last, 'response.completed');
    assert.equal(seen.response.status, 'completed');
    assert.ok(seen.text.length > c.TOKENS);
    assert.ok(seen.response.usage.output_tokens > 0);
  });

  it('streams the same text as it answers whole', async () => {
    const whole = await c.openai.responses.create(c.responsesBody, c.ask());
    const seen = await readStream(c.ask());
    assert.equal(whole.output_text, seen.text);
    assert.equal(whole.status, 'completed');
  });

  it('streams a tool call whose arguments parse', async () => {
    const seen = await readStream(c.ask({ 'x-mock-tool': '1' }), { tools });
    assert.equal(seen.last, 'response.completed');
    assert.equal(typeof JSON.parse(seen.args), 'object');
    assert.equal(seen.response.output.find((o) => o.type === 'function_call').name, 'get_level');
  });

  it('accumulates with the stream helper', async () => {
    const final = await c.openai.responses.stream(c.responsesBody, c.ask()).finalResponse();
    const seen = await readStream(c.ask());
    assert.equal(final.status, 'completed');
    assert.equal(final.output_text, seen.text);
  });

  it('streams the same text from writes of 3 bytes', async () => {
    const cut = await readStream(c.ask({ 'x-mock-write-bytes': '3' }));
    assert.equal(cut.text, (await readStream(c.ask())).text);
    assert.equal(cut.last, 'response.completed');
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

  for (const fault of c.WHOLE_FAULTS) {
    it(`reports ${fault} of a whole answer`, async () => {
      await c.assertFails(fault, async () =>
        (await c.openai.responses.create(c.responsesBody, c.faultHeaders(fault))).output_text);
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
