import type { Config } from '../config.ts';

/** A transaction and what it waits for must not be all there is. */
const POOL_MIN = 3;

/**
 * One worker's part of what the configuration allows the machine as a whole. What PostgreSQL counts (claims, held
 * Lightning payments, rate windows, caps) is counted over all workers anyway, and stays whole; so does what bounds
 * one process (connections, requests in flight), because a key's owner may well have most of them.
 */
export function takeShare(config: Config): Config {
  const { count } = config.workers;
  if (count === 1) return config;
  const { sandbox, remote, lightning } = config;
  const part = (whole: number, least = 1) => Math.max(least, Math.floor(whole / count));
  return Object.freeze({
    ...config,
    databasePoolMax: Math.min(config.databasePoolMax, part(config.databasePoolMax, POOL_MIN)),
    sandbox: {
      ...sandbox,
      concurrencyMax: part(sandbox.concurrencyMax),
      queueMax: part(sandbox.queueMax, 0),
      poolMemoryBytesMax: part(sandbox.poolMemoryBytesMax, 0),
    },
    remote: { ...remote, connectionsMax: part(remote.connectionsMax) },
    lightning: lightning && {
      ...lightning,
      mintsPerAddress: part(lightning.mintsPerAddress),
      mintsTotal: part(lightning.mintsTotal),
    },
  });
}
