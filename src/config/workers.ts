import { z } from 'zod';
import { ConfigError } from './config-error.ts';
import { integer } from './fields.ts';

/** How many processes answer on the one port. */
export const workersEnvironment = { GATEWAY_WORKERS: integer(1, 1, 64) };

const environmentSchema = z.object(workersEnvironment);

/** The embedded server has 200 connections, and a worker takes up to ten. */
const EMBEDDED_MAX = 16;
export function readWorkers(env: z.infer<typeof environmentSchema> & { DATABASE_URL?: string | undefined }): {
  count: number;
} {
  const count = env.GATEWAY_WORKERS;
  if (count > EMBEDDED_MAX && env.DATABASE_URL === undefined) {
    throw new ConfigError(
      `GATEWAY_WORKERS: more than ${EMBEDDED_MAX} workers need a PostgreSQL of their own: set DATABASE_URL`,
    );
  }
  return { count };
}
