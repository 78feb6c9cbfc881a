import type { z } from 'zod';
import { Problem } from '../core/problem.ts';
import { readFiles } from './code-files.ts';
import { type PriceList, readPriceList } from './price-list.ts';
import { submissionSchema } from './submission-schema.ts';

/** What a publisher sends to publish one version: checked, with code and price list in their inner form. */
export type Submission = {
  /** `<publisher>/<tool>`. */
  name: string;
  version: string;
  description: string;
  category: string[];
  language: 'python';
  tier: 'hobbyist';
  entrypoint: string;
  license: string | null;
  repoUrl: string | null;
  changelog: string | null;
  pricing: PriceList;
  files: ReadonlyMap<string, Buffer>;
};

const REPORTED_FIELDS_MAX = 10;
const FIELD_CHARACTERS_MAX = 100;

/** The submission a parsed JSON body holds. A refusal names the field and what to do about it. */
export function parseSubmission(body: unknown): Submission {
  refusePrototypeKeys(body);
  const parsed = submissionSchema.safeParse(body, { error: describeType });
  if (!parsed.success) throw refuseIssues(parsed.error.issues);
  const { repo_url, license, changelog, pricing, files: contents, ...rest } = parsed.data;
  const files = readFiles(contents);
  refuseEntrypoint(rest.entrypoint, files);
  return {
    ...rest,
    license: license ?? null,
    repoUrl: repo_url ?? null,
    changelog: changelog ?? null,
    pricing: readPriceList({
      model: pricing.model,
      amount: pricing.amount_mcents ?? 0,
      tools: pricing.tools ?? {},
      free: pricing.free,
      settle: pricing.settle,
    }),
    files,
  };
}

function refuseEntrypoint(entrypoint: string, files: ReadonlyMap<string, Buffer>): void {
  if (!files.has(entrypoint)) throw refuseField('entrypoint', 'must be one of the paths in "files"');
  if (!entrypoint.endsWith('.py'))
    throw refuseField('entrypoint', 'must be a Python file that ends in ".py"');
}

/** A record schema leaves `__proto__` out without a word, and what was sent would not be what is stored. */
function refusePrototypeKeys(body: unknown): void {
  const { files, pricing } = asRecord(body);
  if (Object.hasOwn(asRecord(files), '__proto__')) {
    throw refuseField('files', 'must not hold a path "__proto__"; rename the file');
  }
  if (Object.hasOwn(asRecord(asRecord(pricing).tools), '__proto__')) {
    throw refuseField('pricing.tools', 'must not name a tool "__proto__"');
  }
  if (Object.hasOwn(asRecord(asRecord(asRecord(pricing).free).tools), '__proto__')) {
    throw refuseField('pricing.free.tools', 'must not name a tool "__proto__"');
  }
}

function asRecord(value: unknown): Record<string, unknown> {
  // Any object may be read by name; what is found there stays unknown.
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

const describeType: z.core.$ZodErrorMap = (issue) => {
  if (issue.code === 'unrecognized_keys') {
    const names = issue.keys.slice(0, REPORTED_FIELDS_MAX).map((key) => key.slice(0, FIELD_CHARACTERS_MAX));
    return `has the unknown member ${names.map((name) => JSON.stringify(name)).join(', ')}; remove it`;
  }
  if (issue.code === 'invalid_key') return 'is no tool name; one is 1 to 128 of A-Z a-z 0-9 _ . / -';
  if (issue.code === 'too_big') return `must be at most ${issue.maximum}${unitOf(issue.origin)}`;
  if (issue.code === 'too_small') return `must be at least ${issue.minimum}${unitOf(issue.origin)}`;
  if (issue.code !== 'invalid_type') return undefined;
  if (issue.input === undefined) return 'is required';
  return issue.expected === 'int' || issue.expected === 'number'
    ? 'must be a whole number, without quotes'
    : `must be a JSON ${issue.expected === 'record' ? 'object' : issue.expected}`;
};

function unitOf(origin: string): string {
  return origin === 'string' ? ' characters' : '';
}

/** Every refused field up to a bound, the first one as the detail. */
function refuseIssues(issues: readonly z.core.$ZodIssue[]): Problem {
  const errors = issues.slice(0, REPORTED_FIELDS_MAX).map((issue) => ({
    field: issue.path.join('.').slice(0, FIELD_CHARACTERS_MAX),
    detail: issue.message,
  }));
  const [first] = errors;
  return new Problem('invalid-arguments', {
    detail: `${first?.field || 'The body'}: ${first?.detail}.`,
    members: { field: first?.field ?? '', errors },
  });
}

function refuseField(field: string, detail: string): Problem {
  return new Problem('invalid-arguments', {
    detail: `${field}: ${detail}.`,
    members: { field, errors: [{ field, detail }] },
  });
}
