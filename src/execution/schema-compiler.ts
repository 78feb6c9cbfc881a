import { Ajv, type Options, type ValidateFunction } from 'ajv';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import type { JsonObject } from './json-lines.ts';
import { classifySchema, type Plainness } from './plain-schema.ts';
import { cutToBytes } from './public-detail.ts';
import type { TimeLimit } from './time-limit.ts';

export type Compiled =
  | {
      kind: 'compiled';
      validate: ValidateFunction;
      /** Which values take no longer to check than they took to read. */
      plainness: Plainness;
    }
  /** `why` completes "The schema ...". */
  | { kind: 'unusable'; why: string };

const SCHEMA_CHARACTERS_MAX = 64 * 1024;
const COMPILE_TIMEOUT_MS = 500;
const REASON_BYTES_MAX = 200;

/**
 * Compiles a stranger's schema. Each gets an Ajv instance of its own, without any other schema in it: none
 * can refer to another's `$id`, and nothing is ever fetched.
 */
export function createSchemaCompiler(limit: TimeLimit): (schema: JsonObject, text: string) => Compiled {
  const checkers = new Map<Dialect, Checker>();
  return (schema, text) => {
    const why = refuseShape(schema, text);
    if (why !== undefined) return { kind: 'unusable', why };
    const dialect = readDialect(schema.$schema);
    if (dialect === undefined)
      return { kind: 'unusable', why: 'names a $schema other than 2020-12, 2019-09 or draft-07' };
    const checker = checkers.get(dialect) ?? createChecker(dialect);
    checkers.set(dialect, checker);
    try {
      const run = limit(() => compile(dialect, checker, schema), COMPILE_TIMEOUT_MS);
      if (run.kind === 'done') return run.value;
      // What was stopped in the middle may have left the shared checker half way: the next schema gets another.
      checkers.delete(dialect);
      return { kind: 'unusable', why: 'takes too long to compile' };
    } catch (error) {
      // Ajv throws for what it cannot use, such as a reference that leads nowhere, and says why.
      return {
        kind: 'unusable',
        why: `does not compile: ${quote(error instanceof Error ? error.message : '')}`,
      };
    }
  };
}

type Dialect = '2020-12' | '2019-09' | 'draft-07';
type Checker = Pick<Ajv, 'validateSchema' | 'errorsText'>;

const OPTIONS: Options = { strict: false, logger: false, ownProperties: true };

function refuseShape(schema: JsonObject, text: string): string | undefined {
  if (text.length > SCHEMA_CHARACTERS_MAX) return `is longer than ${SCHEMA_CHARACTERS_MAX} characters`;
  if (schema.type !== 'object') return 'does not say "type": "object"';
  // An asynchronous validator answers with a promise, which would pass for true.
  return text.includes('"$async"') ? 'uses $async' : undefined;
}

/** MCP 2025-11-25: a schema without `$schema` is 2020-12. Many servers still write draft-07. */
function readDialect(name: unknown): Dialect | undefined {
  if (name === undefined) return '2020-12';
  if (typeof name !== 'string') return undefined;
  switch (name.replace(/^https?:\/\/json-schema\.org\//, '').replace(/#$/, '')) {
    case 'draft/2020-12/schema':
      return '2020-12';
    case 'draft/2019-09/schema':
      return '2019-09';
    case 'draft-07/schema':
      return 'draft-07';
    default:
      return undefined;
  }
}

function compile(dialect: Dialect, checker: Checker, schema: JsonObject): Compiled {
  const { $schema, ...rest } = schema;
  if (checker.validateSchema(rest) !== true)
    return { kind: 'unusable', why: `is no JSON Schema: ${quote(checker.errorsText())}` };
  // The shared checker has looked at it: this instance needs no meta-schema, which takes 15 ms to build.
  const validate = createAjv(dialect, { ...OPTIONS, meta: false, validateSchema: false }).compile(rest);
  // V8 compiles a function when it is first called: that belongs to what is limited, and some are too deep for it.
  validate({});
  return { kind: 'compiled', validate, plainness: classifySchema(rest) };
}

/**
 * The checker every schema of a dialect shares. It compiles its meta-schema on first use: that is done here,
 * outside any time limit, because an Ajv that is stopped while it compiles never works again.
 */
function createChecker(dialect: Dialect): Checker {
  const checker = createAjv(dialect, OPTIONS);
  checker.validateSchema({ type: 'object' });
  return checker;
}

function createAjv(dialect: Dialect, options: Options) {
  switch (dialect) {
    case '2020-12':
      return formats.default(new Ajv2020(options));
    case '2019-09':
      return formats.default(new Ajv2019(options));
    case 'draft-07':
      return formats.default(new Ajv(options));
    default:
      return dialect satisfies never;
  }
}

function quote(reason: string): string {
  return cutToBytes(reason, REASON_BYTES_MAX);
}
