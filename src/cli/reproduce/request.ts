import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { Json } from '../../core/canonical-json.ts';
import { hashRequest } from '../../gateway/index.ts';
import type { ReceiptPayload } from '../../provenance/index.ts';
import { UsageError } from '../command.ts';

const jsonObject = z.custom<{ [key: string]: Json }>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'must be a JSON object',
);

/** What was sent to `POST /invoke/{id}`: what is not hashed may be in it, and is not looked at. */
const inputSchema = z.object({ tool: z.string(), arguments: jsonObject.default({}) });
export type CallAgain = z.infer<typeof inputSchema>;

export async function readInput(path: string): Promise<CallAgain> {
  const parsed = inputSchema.safeParse(parseJson(await readText(path)));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new UsageError(
    `${path} is not the body of a call, {"tool": "...", "arguments": {...}}: ${issue?.path.join('.') || 'it'} ${issue?.message ?? 'is something else'}.`,
  );
}

/**
 * Whether these arguments are what the receipt's request hash covers. The version and the consent to a network are
 * hashed only when they were sent, and a header or a query may have said them: the hash itself tells which it was.
 */
export function isRequestOf(receipt: ReceiptPayload, { tool, arguments: given }: CallAgain): boolean {
  const call = { server: receipt.server, tool, arguments: given };
  const { version } = receipt;
  return [call, { ...call, version }].some((said) =>
    [said, { ...said, network: true as const }].some(
      (request) => `sha256:${hashRequest(request).toString('hex')}` === receipt.req,
    ),
  );
}

export async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new UsageError(`${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
