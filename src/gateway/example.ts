import type { Json } from '../core/canonical-json.ts';
import { millicents } from '../core/money.ts';
import type { CallToolResult } from '../execution/index.ts';

/** What `/v1/example` costs: enough to see a balance move. */
export const EXAMPLE_PRICE = millicents(100);

/** The example every gateway sells: pure, so it runs in this process and cannot fail. */
export function runExample(input: { [key: string]: Json }): CallToolResult {
  const name = typeof input.name === 'string' && input.name.length <= 100 ? input.name : 'agent';
  const message = `Hello ${name}: this call was paid for and delivered.`;
  return { content: [{ type: 'text', text: message }], structuredContent: { message } };
}
