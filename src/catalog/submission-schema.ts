import { z } from 'zod';
import { ENDPOINT_CHARACTERS_MAX, refuseEndpoint, refuseHost } from './endpoint.ts';
import { limitsSchema, remoteLimitsSchema } from './limits-json.ts';
import { allowanceSchema, PRICE_MCENTS_MAX, SETTLE_POLICIES } from './price-list.ts';
import { refuseName } from './server-name.ts';
import { isVersionNumber, VERSION_CHARACTERS_MAX } from './version-number.ts';

const DESCRIPTION_CHARACTERS_MAX = 500;
const CHANGELOG_CHARACTERS_MAX = 4_000;
const CATEGORIES_MAX = 5;
const CATEGORY_CHARACTERS_MAX = 32;
const LICENSE_CHARACTERS_MAX = 64;
const URL_CHARACTERS_MAX = 300;
const ENTRYPOINT_CHARACTERS_MAX = 100;
const PRICED_TOOLS_MAX = 128;
const HOSTS_MAX = 16;
const SIGNATURE_BYTES_MAX = 16 * 1024;
const HOST_CHARACTERS_SHOWN = 80;

const CATEGORY = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;
/** SPDX license expressions (annex D of the specification): identifiers, AND, OR, WITH, brackets. */
const LICENSE = /^[A-Za-z0-9(][A-Za-z0-9.+() -]*$/;
const TOOL_NAME = /^[A-Za-z0-9_./-]{1,128}$/;
/**
 * What no database text holds or no reader sees; agents read it all the same, so text could be hidden there.
 * Line breaks and tabs may stay, and the two joiners that some scripts and emoji need.
 */
const UNPRINTABLE = /(?![\n\r\t\u200c]|\u200d)[\p{Cc}\p{Cf}\p{Cs}]/u;

const price = z.int().min(0).max(PRICE_MCENTS_MAX);

const freeSchema = allowanceSchema
  .extend({
    tools: z
      .record(z.string().regex(TOOL_NAME), allowanceSchema.superRefine(refuseNothing))
      .refine((tools) => Object.keys(tools).length <= PRICED_TOOLS_MAX, {
        error: `must name at most ${PRICED_TOOLS_MAX} tools`,
      })
      .optional(),
  })
  .superRefine((free, context) => {
    if (!free.tools) refuseNothing(free, context);
  });

/** An allowance that says nothing is more likely a mistake than a wish. */
function refuseNothing(allowance: z.infer<typeof allowanceSchema>, context: z.RefinementCtx): void {
  if (allowance.first !== undefined || allowance.per_day !== undefined) return;
  refuse(context, [], 'must have "first", "per_day" or both');
}

const pricingSchema = z
  .strictObject({
    model: z.enum(['free', 'per_call'], {
      error: ({ input }) =>
        input === 'subscription'
          ? 'subscriptions are not offered yet; use "free" or "per_call"'
          : 'must be "free" or "per_call"',
    }),
    amount_mcents: price.optional(),
    tools: z
      .record(z.string().regex(TOOL_NAME), price)
      .refine((tools) => Object.keys(tools).length <= PRICED_TOOLS_MAX, {
        error: `must name at most ${PRICED_TOOLS_MAX} tools`,
      })
      .optional(),
    free: freeSchema.optional(),
    settle: z.enum(SETTLE_POLICIES).optional(),
  })
  .superRefine((pricing, context) => {
    if (pricing.model === 'free' && pricing.free !== undefined) {
      refuse(context, ['free'], 'belongs to the model "per_call": with "free" every call is free');
    }
    const isCharged = [pricing.amount_mcents, ...Object.values(pricing.tools ?? {})].some((amount) => amount);
    if (pricing.model === 'free' && isCharged) {
      refuse(context, ['model'], 'is "free", so no amount may be above 0; use "per_call" to charge');
    }
    if (pricing.model === 'per_call' && pricing.amount_mcents === undefined) {
      refuse(context, ['amount_mcents'], 'is required when the model is "per_call"');
    }
  });

/** What every publish JSON says, whichever way its server is served. */
const described = {
  name: z.string().superRefine((name, context) => refuse(context, [], refuseName(name))),
  version: z.string().refine(isVersionNumber, {
    error: `must be one exact version of Semantic Versioning 2.0.0, such as "1.0.0", of at most ${VERSION_CHARACTERS_MAX} characters`,
  }),
  description: text(DESCRIPTION_CHARACTERS_MAX).refine((value) => value.trim() !== '', {
    error: 'must say what the server does',
  }),
  category: z
    .array(
      z
        .string()
        .max(CATEGORY_CHARACTERS_MAX)
        .regex(CATEGORY, 'must be a slug such as "data" or "text-analysis"'),
    )
    .max(CATEGORIES_MAX, `must name at most ${CATEGORIES_MAX} categories`)
    .refine((slugs) => new Set(slugs).size === slugs.length, { error: 'must not name a category twice' })
    .default([]),
  license: z
    .string()
    .max(LICENSE_CHARACTERS_MAX)
    .regex(LICENSE, 'must be an SPDX license expression such as "MIT" or "Apache-2.0"')
    .optional(),
  repo_url: z
    .string()
    .max(URL_CHARACTERS_MAX)
    .refine(isPublicUrl, { error: 'must be an https:// URL without a user name' })
    .optional(),
  changelog: text(CHANGELOG_CHARACTERS_MAX).optional(),
  pricing: pricingSchema,
  signature: text(SIGNATURE_BYTES_MAX)
    .min(1)
    .refine((armored) => Buffer.byteLength(armored) <= SIGNATURE_BYTES_MAX, {
      error: `must be at most ${SIGNATURE_BYTES_MAX} bytes`,
    })
    .optional(),
};

const language = z.enum(['python', 'node', 'go'], { error: 'must be "python", "node" or "go"' });

const networkSchema = z.strictObject({
  hosts: z
    .array(
      z.string().superRefine((host, context) => {
        const why = refuseHost(host);
        refuse(context, [], why && `${JSON.stringify(host.slice(0, HOST_CHARACTERS_SHOWN))} ${why}`);
      }),
    )
    .min(1, 'must name at least one host; leave "network" out to reach none')
    .max(HOSTS_MAX, `must name at most ${HOSTS_MAX} hosts`)
    .refine((hosts) => new Set(hosts).size === hosts.length, { error: 'must not name a host twice' }),
});

/** The publish JSON of code that runs here; `parseSubmission` checks what this shape alone cannot. */
export const hostedSchema = z.strictObject({
  tier: z.enum(['hobbyist'], { error: 'must be "hobbyist" or "pro"' }).default('hobbyist'),
  ...described,
  language,
  entrypoint: z.string().max(ENTRYPOINT_CHARACTERS_MAX),
  limits: limitsSchema.default({}),
  network: networkSchema.optional(),
  // `true` opens the code to everyone, so nothing that merely looks like it will do.
  deterministic: z.boolean().optional(),
  endpoint_url: notHere('belongs to the tier "pro"; a server whose code you upload has none'),
  files: z.record(
    z.string(),
    z.union([z.string(), z.strictObject({ base64: z.string() })], {
      error: 'must be text, or {"base64": "..."}',
    }),
  ),
});

/** The same beside an archive that holds the files. */
export const uploadSchema = hostedSchema.extend({
  files: notHere('are in the archive already; leave this member out'),
});

/** The publish JSON of a server that its publisher runs. */
export function remoteSchema(rules: { allowsLoopback: boolean }) {
  const isCode = 'belongs to code that runs here, and a "pro" server has none';
  return z.strictObject({
    tier: z.literal('pro'),
    ...described,
    language: language.optional(),
    endpoint_url: z
      .string()
      .max(ENDPOINT_CHARACTERS_MAX)
      .superRefine((url, context) => refuse(context, [], refuseEndpoint(url, rules))),
    limits: remoteLimitsSchema.default({}),
    network: notHere(isCode),
    deterministic: notHere('is a promise about code that runs here, and a "pro" server has none'),
    entrypoint: notHere(isCode),
    files: notHere(isCode),
  });
}

function notHere(why: string) {
  return z.never({ error: why }).optional();
}

function text(charactersMax: number) {
  return z
    .string()
    .max(charactersMax)
    .refine((value) => !UNPRINTABLE.test(value), {
      error: 'must not hold control or invisible characters',
    });
}

function isPublicUrl(value: string): boolean {
  if (!/^https:\/\/[\x21-\x7e]+$/.test(value) || !URL.canParse(value)) return false;
  const { username, password } = new URL(value);
  return username === '' && password === '';
}

function refuse(context: z.RefinementCtx, path: string[], message: string | undefined): void {
  if (message !== undefined) context.addIssue({ code: 'custom', path, message });
}
