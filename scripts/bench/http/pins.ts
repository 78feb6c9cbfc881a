import { spawnSync } from 'node:child_process';

/** What to put before a command so that it stays on one core; nothing where that cannot be. */
export type Pins = { server: string[]; load: string[]; areOn: boolean };

/** Servers on one core and the load on another, so that neither takes the other's time. */
export function choosePins(): Pins {
  const pin = (core: number) => ['taskset', '-c', String(core)];
  const works = (prefix: string[]) => spawnSync(prefix[0] ?? '', [...prefix.slice(1), 'true']).status === 0;
  const [server, load] = [pin(0), pin(1)];
  if (works(server) && works(load)) return { server, load, areOn: true };
  return { server: [], load: [], areOn: false };
}
