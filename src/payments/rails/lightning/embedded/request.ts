import { z } from 'zod';
import { readBounded, settleBy } from '../../../../core/bounded-answer.ts';
import { timeLimit } from '../../../../core/time-limit.ts';
import { toJson } from './api.ts';
import { Refusal } from './refusal.ts';

export type ServiceRequest<T extends z.ZodType> = {
  method: 'GET' | 'POST';
  /** Below the service's address. */
  path: string;
  body?: unknown;
  answer: T;
  /** On top of what the caller's signal allows. */
  timeoutMs: number;
};

const errorSchema = z.object({ error: z.string() });
const ANSWER_MAX_BYTES = 16 * 1024 * 1024;

/**
 * Asks a service of ours once. Throws `Refusal` when it refused and changed nothing; any other error leaves
 * open whether it acted.
 */
export async function ask<T extends z.ZodType>(
  service: { url: string; token: string },
  request: ServiceRequest<T>,
  signal: AbortSignal,
): Promise<z.output<T>> {
  const { method, path, body, answer, timeoutMs } = request;
  const limit = timeLimit(signal, timeoutMs);
  const asked = fetch(`${service.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${service.token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: toJson(body) }),
    signal: limit,
  });
  const response = await settleBy(limit, asked);
  const bytes = await readBounded(response, { bytesMax: ANSWER_MAX_BYTES, signal: limit });
  const text = bytes.toString('utf8');
  if (response.ok) return answer.parse(JSON.parse(text));
  const said = errorSchema.safeParse(JSON.parse(text || '{}'));
  const reason = said.success ? said.data.error : `HTTP ${response.status}`;
  if (response.status === 409) throw new Refusal(reason);
  throw new Error(`the embedded node answered ${response.status}: ${reason}`);
}
