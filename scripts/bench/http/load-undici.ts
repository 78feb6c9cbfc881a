import { join } from 'node:path';
import { z } from 'zod';
import type { LoadAnswer, LoadRequest } from './load.ts';
import { runToEnd } from './run-to-end.ts';

const CHILD = join(import.meta.dirname, '../children/load.ts');

const answerSchema = z.object({
  answers: z.int(),
  perSecond: z.number(),
  refused: z.int(),
  broken: z.int(),
});

/** One run of the generator that needs nothing installed. */
export async function runUndici(request: LoadRequest, pin: string[]): Promise<LoadAnswer> {
  const command = [process.execPath, '--import', 'tsx', CHILD, JSON.stringify(request)];
  return answerSchema.parse(JSON.parse(await runToEnd([...pin, ...command], request.seconds)));
}
