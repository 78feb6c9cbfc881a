import type { ProvenanceConfig } from '../config/provenance.ts';
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { Job } from '../jobs/index.ts';
import { createWitnessing, type Logs, type WitnessStatus } from '../provenance/index.ts';

export type WitnessParts = {
  config: Pick<ProvenanceConfig, 'witnesses'>;
  logs: Logs;
  clock: Clock;
  log: Log;
};

export type WiredWitnesses = {
  jobs: readonly Job[];
  /** How each witness was seen last, for `/ready`: one that is down takes nobody else with it. */
  health(): Record<string, string>;
  status(): WitnessStatus[];
};

/** A checkpoint is signed about once a second at most; cosigning it soon keeps readers from waiting. */
const COSIGN_EVERY_MS = 2_000;

/** A job for each witness, so that one which hangs holds up none of the others. */
export function wireWitnesses({ config, logs, clock, log }: WitnessParts): WiredWitnesses {
  const all = config.witnesses.map((witness) => ({
    name: witness.vkey.split('+')[0] ?? '',
    ...createWitnessing({ logs, witness, clock, log }),
  }));
  const status = () => all.flatMap((one) => one.status());
  return {
    jobs: all.map(({ name, run }) => ({ name: `cosign-${name}`, everyMs: COSIGN_EVERY_MS, run })),
    health: () =>
      Object.fromEntries(
        status().map(({ witness, log: name, health }) => [
          `witness-${witness}-${name}`,
          health.kind === 'ok' ? 'ok' : `down: ${health.detail}`,
        ]),
      ),
    status,
  };
}
