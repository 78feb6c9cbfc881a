import type { z } from 'zod';
import type { Limits } from '../core/limits.ts';
import { Problem } from '../core/problem.ts';
import { takeOffTopFolder } from './archives/upload.ts';
import { CODE_BOUNDS, checkFiles, readFiles } from './code-files.ts';
import { refuseProgram } from './elf.ts';
import { ENDPOINT_FILE, endpointFiles } from './endpoint.ts';
import { type PriceList, readPriceList } from './price-list.ts';
import { hostedSchema, remoteSchema, uploadSchema } from './submission-schema.ts';

export type Language = 'python' | 'node' | 'go';

/** What a publisher sends to publish one version: checked, with code and price list in their inner form. */
export type Submission = HostedSubmission | RemoteSubmission;

/** Code that runs here. */
export type HostedSubmission = Described & {
  tier: 'hobbyist';
  language: Language;
  entrypoint: string;
  /** The exact hosts that it asks to reach. */
  hosts: readonly string[];
  /** Its publisher says that the same arguments give the same result, and lets anyone have the code to see it. */
  isDeterministic?: true | undefined;
  files: ReadonlyMap<string, Buffer>;
};

/** A server that its publisher runs. */
export type RemoteSubmission = Described & {
  tier: 'pro';
  language: Language | null;
  endpointUrl: string;
  /** `ENDPOINT_FILE`, which is `entrypoint` too: the code that is hashed and logged says where calls go. */
  files: ReadonlyMap<string, Buffer>;
  entrypoint: typeof ENDPOINT_FILE;
};

type Described = {
  /** `<publisher>/<tool>`. */
  name: string;
  version: string;
  description: string;
  category: string[];
  license: string | null;
  repoUrl: string | null;
  changelog: string | null;
  pricing: PriceList;
  /** What it declares beside the platform's defaults. */
  limits: Partial<Limits>;
  /** A detached signature over the canonical archive of the files, as text: SSHSIG, OpenPGP or minisign. */
  signature?: string | undefined;
};

/** What this gateway takes. */
export type SubmissionRules = {
  /** Whether an endpoint may be on this machine. */
  allowsLoopback: boolean;
  /** The gateway's own processor, as Node names it. */
  processor: string;
};

const REPORTED_FIELDS_MAX = 10;
const FIELD_CHARACTERS_MAX = 100;

/**
 * The submission a parsed JSON body holds, with the files of an archive when one came beside it. A refusal names the
 * field and what to do about it.
 */
export function parseSubmission(
  body: unknown,
  rules: SubmissionRules,
  upload?: ReadonlyMap<string, Buffer>,
): Submission {
  refusePrototypeKeys(body);
  if (asRecord(body).tier === 'pro') return readRemote(body, rules, upload);
  if (upload) return readHosted(parse(uploadSchema, body), rules, upload);
  const { files, ...sent } = parse(hostedSchema, body);
  return readHosted(sent, rules, readFiles(files, CODE_BOUNDS[sent.language]));
}

function readHosted(
  sent: Omit<z.infer<typeof hostedSchema>, 'files'>,
  rules: SubmissionRules,
  given: ReadonlyMap<string, Buffer>,
): HostedSubmission {
  const files = takeOffTopFolder(given, sent.entrypoint);
  checkFiles(files, CODE_BOUNDS[sent.language]);
  refuseEntrypoint(sent, files, rules);
  const { tier, language, entrypoint, network, deterministic } = sent;
  if (deterministic && network) {
    throw refuseField(
      'deterministic',
      'cannot be promised of code that reaches "network.hosts"; leave one out',
    );
  }
  const described = readDescribed(sent);
  const isDeterministic = deterministic ? { isDeterministic: deterministic } : {};
  return { tier, language, entrypoint, ...described, hosts: network?.hosts ?? [], ...isDeterministic, files };
}

function readRemote(
  body: unknown,
  rules: SubmissionRules,
  upload: ReadonlyMap<string, Buffer> | undefined,
): RemoteSubmission {
  if (upload) throw refuseField('archive', 'belongs to code that runs here, and a "pro" server has none');
  const sent = parse(remoteSchema(rules), body);
  return {
    tier: sent.tier,
    language: sent.language ?? null,
    ...readDescribed(sent),
    endpointUrl: sent.endpoint_url,
    ...{ files: endpointFiles(sent.endpoint_url), entrypoint: ENDPOINT_FILE },
  };
}

type SentDescription = Pick<
  z.infer<typeof hostedSchema>,
  | 'name'
  | 'version'
  | 'description'
  | 'category'
  | 'license'
  | 'repo_url'
  | 'changelog'
  | 'pricing'
  | 'limits'
  | 'signature'
>;

function readDescribed(sent: SentDescription): Described {
  const { name, version, description, category, license, repo_url, changelog, pricing, limits } = sent;
  return {
    ...{ name, version, description, category, limits },
    ...(sent.signature === undefined ? {} : { signature: sent.signature }),
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
  };
}

/** What the file that is started may be called; a compiled program may have any name. */
const ENDINGS = { python: ['.py'], node: ['.js', '.mjs', '.cjs'], go: [''] } as const;

function refuseEntrypoint(
  { language, entrypoint }: { language: Language; entrypoint: string },
  files: ReadonlyMap<string, Buffer>,
  { processor }: SubmissionRules,
): void {
  const file = files.get(entrypoint);
  if (!file) throw refuseField('entrypoint', 'must be one of the paths in "files"');
  const endings: readonly string[] = ENDINGS[language];
  if (!endings.some((ending) => entrypoint.endsWith(ending))) {
    const called = language === 'python' ? 'Python' : 'JavaScript';
    throw refuseField('entrypoint', `must be a ${called} file that ends in "${endings.join('", "')}"`);
  }
  const why = language === 'go' ? refuseProgram(file, processor) : undefined;
  if (why !== undefined) {
    throw new Problem('invalid-code', {
      detail: `entrypoint: ${JSON.stringify(entrypoint)} ${why}.`,
      members: { field: 'entrypoint' },
    });
  }
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body, { error: describeType });
  if (parsed.success) return parsed.data;
  throw refuseIssues(parsed.error.issues);
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
