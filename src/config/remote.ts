import { z } from 'zod';
import { ConfigError } from './config-error.ts';
import { integer } from './fields.ts';

/** How publishers' own servers are reached. */
export const remoteEnvironment = {
  REMOTE_ALLOW_LOOPBACK: z.enum(['yes', 'no']).default('no'),
  REMOTE_CONNECTIONS: integer(64, 1, 4_096),
};

const environmentSchema = z.object(remoteEnvironment);

export type RemoteConfig = {
  /** Whether an endpoint may be on this machine, over plain http. */
  allowsLoopback: boolean;
  /** Connections to one origin at most. */
  connectionsMax: number;
};

export function readRemote(env: z.infer<typeof environmentSchema> & { NODE_ENV: string }): RemoteConfig {
  const allowsLoopback = env.REMOTE_ALLOW_LOOPBACK === 'yes';
  if (allowsLoopback && env.NODE_ENV === 'production') {
    throw new ConfigError(
      'REMOTE_ALLOW_LOOPBACK is for development: publishers could reach what this machine keeps to itself',
    );
  }
  return { allowsLoopback, connectionsMax: env.REMOTE_CONNECTIONS };
}
