import { z } from 'zod';
import { DEFAULT_LIMITS, LIMIT_CEILINGS, LIMIT_FLOORS, type Limits } from '../core/limits.ts';

const [KIB, MIB] = [1024, 1024 * 1024];

/** How limits travel: each member, the bound it sets, and how much of that bound one is. */
const MEMBERS = {
  timeout_ms: ['runTimeoutMs', 1],
  memory_mb: ['memoryBytesMax', MIB],
  output_kb: ['outputBytesMax', KIB],
  tmp_mb: ['tmpBytesMax', MIB],
  processes: ['pidsMax', 1],
} as const satisfies Record<string, readonly [keyof Limits, number]>;

type Member = keyof typeof MEMBERS;

/** What a publisher's own server is held to as well: the rest is its own affair. */
const REMOTE_MEMBERS = ['timeout_ms', 'output_kb'] as const satisfies readonly Member[];
const HOSTED_ONLY = 'bounds code that runs here, and a "pro" server does not';

/** `limits` of a publish JSON of hosted code. */
export const limitsSchema = z
  .strictObject({
    timeout_ms: memberSchema('timeout_ms'),
    memory_mb: memberSchema('memory_mb'),
    output_kb: memberSchema('output_kb'),
    tmp_mb: memberSchema('tmp_mb'),
    processes: memberSchema('processes'),
  })
  .transform(readLimits);

/** `limits` of a publish JSON of a publisher's own server. */
export const remoteLimitsSchema = z
  .strictObject({
    timeout_ms: memberSchema('timeout_ms'),
    output_kb: memberSchema('output_kb'),
    memory_mb: z.never({ error: HOSTED_ONLY }).optional(),
    tmp_mb: z.never({ error: HOSTED_ONLY }).optional(),
    processes: z.never({ error: HOSTED_ONLY }).optional(),
  })
  .transform(readLimits);

/** The limits that hold, the platform's where a version declares none. */
export function toLimitsJson(
  limits: Partial<Limits>,
  { isHosted }: { isHosted: boolean },
): Record<string, number> {
  const held = { ...DEFAULT_LIMITS, ...limits };
  const members = Object.entries(MEMBERS).filter(
    ([member]) => isHosted || REMOTE_MEMBERS.some((remote) => remote === member),
  );
  return Object.fromEntries(members.map(([member, [bound, unit]]) => [member, held[bound] / unit]));
}

/** Only what a version declares, in the words of the publish JSON. */
export function toDeclaredLimitsJson(limits: Partial<Limits>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(MEMBERS).flatMap(([member, [bound, unit]]) => {
      const value = limits[bound];
      return value === undefined ? [] : [[member, value / unit]];
    }),
  );
}

/** The same the other way round; undefined for what no version may declare. */
export function readDeclaredLimits(sent: unknown): Partial<Limits> | undefined {
  return limitsSchema.safeParse(sent).data;
}

function memberSchema(member: Member) {
  const [bound, unit] = MEMBERS[member];
  return z
    .int()
    .min(Math.ceil(LIMIT_FLOORS[bound] / unit))
    .max(LIMIT_CEILINGS[bound] / unit)
    .optional();
}

function readLimits(sent: { readonly [M in Member]?: number | undefined }): Partial<Limits> {
  const limits: Partial<Limits> = {};
  for (const [member, [bound, unit]] of Object.entries(MEMBERS)) {
    const value = sent[member as Member];
    if (value !== undefined) limits[bound] = value * unit;
  }
  return limits;
}
