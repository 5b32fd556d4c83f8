// What SDKs ask for beside text: it passes as it is, and what is refused has the SDK's own class of error.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI, { toFile } from 'openai';

import * as c from './common.mjs';

describe('beside text', () => {
  it('lists models', async () => {
    const names = [];
    for await (const model of c.openai.models.list(c.ask())) names.push(model.id);
    assert.ok(names.includes('weir-mock'), names.join());
  });

  it('gets the same embeddings as floats and as base64', async () => {
    const body = { model: 'e', input: ['a weir', 'a river'] };
    const floats = await c.openai.embeddings.create({ ...body, encoding_format: 'float' }, c.ask());
    const base64 = await c.openai.embeddings.create(body, c.ask());
    assert.equal(floats.data.length, 2);
    for (const [i, row] of floats.data.entries()) {
      assert.equal(row.embedding.length, base64.data[i].embedding.length);
      row.embedding.forEach((x, k) => assert.ok(Math.abs(x - base64.data[i].embedding[k]) < 1e-5));
    }
  });

  it('counts tokens', async () => {
    const { input_tokens: n } = await c.anthropic.messages.countTokens(
      { model: 'm', messages: c.messagesBody.messages }, c.ask());
    assert.ok(n > 0);
  });

  it('uploads a file of several parts up to the upstream, which has no files', async () => {
    const file = await toFile(Buffer.alloc(300000, 'x'), 'train.jsonl');
    const error = await c.assertFails('files', () => c.openai.files.create({ file, purpose: 'batch' }, c.ask()));
    assert.ok(error instanceof OpenAI.NotFoundError, String(error));
    assert.match(error.message, /unknown request URL: \/v1\/files/);
  });

  it('reports what no upstream has as not found', async () => {
    const error = await c.assertFails('batches', () => c.anthropic.messages.batches.list({}, c.ask()));
    assert.ok(error instanceof Anthropic.NotFoundError, String(error));
  });
});

describe('a refusal', () => {
  const say = {
    OpenAI: (client, fault) => client.openai.chat.completions.create({ ...c.chatBody, stream: true }, c.faultHeaders(fault)),
    Anthropic: (client, fault) => client.anthropic.messages.create({ ...c.messagesBody, stream: true }, c.faultHeaders(fault)),
  };
  const classes = { 400: 'BadRequestError', 401: 'AuthenticationError', 403: 'PermissionDeniedError', 404: 'NotFoundError',
    409: 'ConflictError', 422: 'UnprocessableEntityError', 429: 'RateLimitError', 529: 'InternalServerError' };
  for (const [sdk, ask] of Object.entries(say)) {
    for (const [status, name] of Object.entries(classes)) {
      it(`of ${status} is ${sdk}'s ${name}`, async () => {
        const error = await c.assertFails(status, () => ask(c, `status:${status}`));
        c.assertStatus(error, Number(status));
        assert.ok(error instanceof { OpenAI, Anthropic }[sdk][name], error.constructor.name);
      });
    }
  }

  it('by weir itself says which', async () => {
    const lost = new OpenAI({ baseURL: `${c.url}/elsewhere`, apiKey: 'sk-test', maxRetries: 0 });
    const error = await c.assertFails('no route', () => lost.chat.completions.create(c.chatBody, c.ask()));
    assert.ok(error instanceof OpenAI.NotFoundError, String(error));
    assert.equal(error.code, 'no_route');
  });
});
