import { z } from 'zod';
import { ConfigError } from './config-error.ts';
import { integer } from './fields.ts';

/** How publishers' own servers are reached. */
export const remoteEnvironment = {
  REMOTE_ALLOW_LOOPBACK: z.enum(['yes', 'no']).default('no'),
  REMOTE_CONNECTIONS: integer(128, 1, 1_024),
};

type RemoteEnvironment = {
  NODE_ENV: string;
  REMOTE_ALLOW_LOOPBACK: 'yes' | 'no';
  REMOTE_CONNECTIONS: number;
};

export type RemoteConfig = {
  /** Endpoints on this machine, and `http` to them; never in production. */
  allowLoopback: boolean;
  /** Connections to one origin at most. */
  connectionsMax: number;
};

export function readRemote(env: RemoteEnvironment): RemoteConfig {
  const allowLoopback = env.REMOTE_ALLOW_LOOPBACK === 'yes';
  if (allowLoopback && env.NODE_ENV === 'production') {
    throw new ConfigError(
      'REMOTE_ALLOW_LOOPBACK must not be "yes" in production: publishers could reach servers of this machine',
    );
  }
  return { allowLoopback, connectionsMax: env.REMOTE_CONNECTIONS };
}
