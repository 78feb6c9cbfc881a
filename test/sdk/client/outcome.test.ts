import { expect, test } from 'vitest';
import { judge } from '../../../src/sdk/client/outcome.ts';

test.each([409, 502, 503])(
  'a %i that brings a refund key ends a call, and its money is not free',
  (status) => {
    const headers = { 'content-type': 'application/problem+json', 'retry-after': '5' };
    const response = new Response(null, { status, headers });
    const note = 'the payment is kept as credit on the refund key';
    expect(judge({ response, json: { ok: false, note, refund_key: 'mcp_1' } })).toEqual({ kind: 'credited' });
    expect(judge({ response, json: { ok: false, note } }).kind).not.toBe('credited');
  },
);
