// What the SDK tests share: where weir is, clients without retries, and what must be true of a fault.
import assert from 'node:assert/strict';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

export const url = process.env.WEIR_URL;
if (!url) throw new Error('WEIR_URL must name a running weir in front of `weir mock`; use tests/sdk/run');

// Longer than the 2 s after which the tested weir gives up an upstream that stalls, or the 5 s for its first byte.
const patienceMs = 12000;
const question = 'Explain the weir.';
export const TOKENS = 40;

export const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-test', maxRetries: 0, timeout: patienceMs });
export const anthropic = new Anthropic({ baseURL: url, apiKey: 'sk-ant-test', maxRetries: 0, timeout: patienceMs });

// The mock answers the same seed with the same bytes. The clients' own timeout ends with the head of an answer; the signal
// bounds the rest.
export function ask(headers = {}) {
  return { signal: AbortSignal.timeout(patienceMs), headers: { 'x-mock-tokens': String(TOKENS), 'x-mock-seed': '7', ...headers } };
}

export const chatBody = { model: 'test-model', messages: [{ role: 'user', content: question }] };
export const responsesBody = { model: 'test-model', input: question };
export const messagesBody = { model: 'test-model', max_tokens: 4096, messages: [{ role: 'user', content: question }] };

// Clients of a weir of their own, which does `action` for whoever doesn't read, and what its metrics say.
export function slowly(action) {
  const [at, admin] = process.env[`WEIR_SLOW_${action.toUpperCase()}`].split(' ');
  return {
    openai: new OpenAI({ baseURL: `${at}/v1`, apiKey: 'sk-test', maxRetries: 0, timeout: patienceMs }),
    anthropic: new Anthropic({ baseURL: at, apiKey: 'sk-ant-test', maxRetries: 0, timeout: patienceMs }),
    metric: async (name) => {
      const text = await (await fetch(`${admin}/metrics`)).text();
      const line = text.split('\n').find((l) => l.startsWith(`${name} `));
      return Number(line?.slice(name.length) ?? NaN);
    },
  };
}

// What the mock does to a stream that has begun; each must reach the caller as an error.
export const STREAM_FAULTS =
  ['stall@12', 'reset@12', 'cut@12', 'truncate@12', 'bad-chunk@12', 'bad-json@12', 'error@12'];
// The same before any content: nothing of the answer was seen, and still it may not look like an empty success.
export const EARLY_FAULTS =
  ['stall@0', 'reset@0', 'cut@0', 'truncate@0', 'bad-chunk@0', 'close', 'garbage', 'both-lengths'];
export const WHOLE_FAULTS = ['close', 'garbage', 'both-lengths', 'early-end'];

export function faultHeaders(fault) {
  return ask({ 'x-mock-fault': fault });
}

// The call must be refused or its stream must throw; what it returned would be half an answer taken for a success.
export async function assertFails(what, read) {
  let text;
  try {
    text = await read();
  } catch (error) {
    // A mistake of the test's own is no proof.
    assert.ok(!(error instanceof assert.AssertionError), String(error.stack));
    assert.ok(!(error instanceof ReferenceError), String(error.stack));
    const gaveUp = /^(APIUserAbortError|APIConnectionTimeoutError|AbortError|TimeoutError)$/;
    assert.doesNotMatch(error.constructor.name, gaveUp, 'weir kept the caller waiting');
    // Nor is a weir that is not there, or one that went down under the fault.
    for (let e = error; e; e = e.cause) assert.notEqual(e.code, 'ECONNREFUSED', 'no weir answers');
    return error;
  }
  assert.fail(`${what}: reported as a success with ${JSON.stringify(text)}`);
}

// Before the commit point a failure of the upstream still has a true HTTP status.
export function assertUpstreamStatus(error) {
  assert.ok(error.status >= 500 && error.status <= 504, `expected 500 to 504, got ${error.status}: ${error.message}`);
}

export function assertStatus(error, status) {
  assert.equal(error.status, status, `expected status ${status}, got ${error.status}: ${error.message}`);
}
