import { z } from 'zod';
import { readBounded, settleBy } from '../../core/bounded-answer.ts';
import { timeLimit } from '../../core/time-limit.ts';

const TIMEOUT_MS = 30_000;
const RPC_BYTES_MAX = 16 * 1024 * 1024;

type Bounds = { bytesMax: number; timeoutMs?: number; signal: AbortSignal };
type Ask = Bounds & { url: string; init?: RequestInit };

/** A refusal; its message is one sentence. */
export class AnswerError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The body of an answer, bounded in time and size. Throws one sentence when there is none, or one that refuses. */
async function ask({ url, bytesMax, timeoutMs = TIMEOUT_MS, signal, init }: Ask): Promise<Buffer> {
  let response: Response;
  let body: Buffer;
  try {
    const limit = timeLimit(signal, timeoutMs);
    response = await settleBy(limit, fetch(url, { ...init, redirect: 'error', signal: limit }));
    body = await readBounded(response, { bytesMax, signal: limit });
  } catch (cause) {
    throw new Error(`${url} does not answer: ${describe(cause)}`, { cause });
  }
  if (!response.ok)
    throw new AnswerError(response.status, `${url} answered ${response.status}: ${detailOf(body)}`);
  return body;
}

/** What stands at an address. */
export function download(url: string, input: Bounds & { headers?: Record<string, string> }): Promise<Buffer> {
  const { headers, ...bounds } = input;
  return ask({ url, ...bounds, ...(headers && { init: { headers } }) });
}

/** What stands at an address, as JSON; throws when it is none. */
export async function downloadJson(url: string, input: Bounds): Promise<unknown> {
  const body = await download(url, input);
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw new Error(`${url} does not answer with JSON`, { cause });
  }
}

/** Bytes as a node spells them. */
export const hex = z
  .string()
  .regex(/^0x[0-9a-fA-F]*$/)
  .transform((text) => text.toLowerCase());

/** A number as a node spells it, below 2^53. */
export const quantity = z
  .string()
  .regex(/^0x[0-9a-fA-F]{1,14}$/)
  .transform(Number)
  .refine(Number.isSafeInteger);

/** A node of a chain, asked in plain JSON-RPC. */
export type Rpc = {
  call<Schema extends z.ZodType>(method: string, params: unknown[], schema: Schema): Promise<z.infer<Schema>>;
};

const answerSchema = z.object({
  result: z.unknown(),
  error: z.object({ message: z.string() }).optional(),
});

export function createRpc(url: string, signal: AbortSignal): Rpc {
  return {
    async call(method, params, schema) {
      const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
      const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body };
      const text = (await ask({ url, bytesMax: RPC_BYTES_MAX, signal, init })).toString('utf8');
      const answer = answerSchema.safeParse(parseJson(text));
      if (!answer.success) throw new Error(`${url} does not answer ${method} in JSON-RPC`);
      if (answer.data.error) throw new Error(`${url} answers ${method} with: ${answer.data.error.message}`);
      const result = schema.safeParse(answer.data.result);
      if (!result.success) throw new Error(`${url} answers ${method} with something else than was asked`);
      return result.data;
    },
  };
}

const problemSchema = z.object({ detail: z.string() });

function detailOf(body: Buffer): string {
  const problem = problemSchema.safeParse(parseJson(body.toString('utf8')));
  return problem.success ? problem.data.detail : body.toString('utf8', 0, 200);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `fetch` says "fetch failed", and what failed in its cause. */
function describe(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  return thrown.cause instanceof Error ? thrown.cause.message || thrown.cause.name : thrown.message;
}
