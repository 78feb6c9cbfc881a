import { z } from 'zod';
import { startEmbeddedService } from '../../src/payments/rails/lightning/embedded/service.ts';

/**
 * The process of one embedded Lightning node: says in one line of JSON where it is, or why it cannot be.
 * Killing it at any moment is safe.
 */
const optionsSchema = z.object({
  folder: z.string(),
  network: z.string().default('regtest'),
  role: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('gateway') }),
    z.object({ kind: z.literal('agent'), gatewayFolder: z.string() }),
  ]),
});

const fail = (cause: unknown) => {
  console.log(JSON.stringify({ error: cause instanceof Error ? cause.message : String(cause) }));
  process.exit(1);
};
process.on('uncaughtException', fail);

const options = optionsSchema.parse(JSON.parse(process.argv[2] ?? '{}'));
const service = await startEmbeddedService({ ...options, environment: process.env.NODE_ENV, fail });
await service.ready;
console.log(JSON.stringify({ ...service.address, payUrl: service.payUrl }));
