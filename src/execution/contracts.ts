import type { ErrorObject } from 'ajv';
import { sha256 } from '../core/bytes.ts';
import { isWithinDepth } from '../core/canonical-json.ts';
import type { JsonObject } from './json-lines.ts';
import { isSmall } from './plain-schema.ts';
import { toPublicDetail } from './public-detail.ts';
import { type Compiled, createSchemaCompiler } from './schema-compiler.ts';
import { createTimeLimit } from './time-limit.ts';

export type Validation = { kind: 'valid' } | { kind: 'invalid'; detail: string };

/** Checks values against the JSON Schemas that publishers wrote. */
export type Contracts = {
  /** Why a schema cannot serve as a tool's contract; undefined when it can. */
  refuse(schema: JsonObject): string | undefined;
  /** `subject` names the value in `detail`, which says where it is wrong and what would be right. */
  validate(schema: JsonObject, value: unknown, subject: string): Validation;
};

const COMPILED_MAX = 512;
const VALIDATE_TIMEOUT_MS = 100;

/**
 * A schema is a stranger's program: it is stopped when it takes too long. What cannot be compiled in time is
 * unusable for good; a value that cannot be checked in time is refused, and it alone, because anyone may send
 * one: the tool must go on serving everybody else.
 */
export function createContracts(): Contracts {
  const limit = createTimeLimit();
  const compile = createSchemaCompiler(limit);
  const compiled = new Map<string, Compiled>();
  // Of schemas that were handed in before: nobody changes one that is in a listing.
  const keys = new WeakMap<JsonObject, string>();

  const remember = (key: string, contract: Compiled) => {
    // A Map keeps the order of insertion: the first key is the one unused for the longest time.
    compiled.delete(key);
    compiled.set(key, contract);
    const [oldest] = compiled.keys();
    if (compiled.size > COMPILED_MAX && oldest !== undefined) compiled.delete(oldest);
  };
  const recall = (schema: JsonObject): Compiled => {
    const known = keys.get(schema);
    let contract = known === undefined ? undefined : compiled.get(known);
    if (known !== undefined && contract) {
      remember(known, contract);
      return contract;
    }
    if (!isWithinDepth(schema)) return { kind: 'unusable', why: 'nests too deep' };
    const text = JSON.stringify(schema);
    const key = sha256(text).toString('base64');
    contract = compiled.get(key) ?? compile(schema, text);
    keys.set(schema, key);
    remember(key, contract);
    return contract;
  };
  return {
    refuse(schema) {
      const contract = recall(schema);
      return contract.kind === 'unusable' ? contract.why : undefined;
    },
    validate(schema, value, subject) {
      const contract = recall(schema);
      if (contract.kind === 'unusable') return invalid(`The tool's schema ${contract.why}.`);
      const { validate, plainness } = contract;
      const check = () => validate(value);
      const isQuick = plainness === 'any' || (plainness === 'small' && isSmall(value));
      const run = withinStack(() =>
        isQuick ? { kind: 'done' as const, value: check() } : limit(check, VALIDATE_TIMEOUT_MS),
      );
      if (run.kind === 'too-slow')
        return invalid(`The value of ${subject} takes too long to check against the tool's schema.`);
      return run.value === true ? { kind: 'valid' } : invalid(describe(validate.errors?.at(-1), subject));
    },
  };
}

/** What is too deep for the stack is too much, as what takes too long is. */
function withinStack<T>(run: () => T): T | { kind: 'too-slow' } {
  try {
    return run();
  } catch (error) {
    if (error instanceof RangeError) return { kind: 'too-slow' };
    throw error;
  }
}

function invalid(detail: string): Validation {
  return { kind: 'invalid', detail: toPublicDetail(detail) };
}

/** The last error is the outermost: "no alternative fits" rather than why the first one did not. */
function describe(error: ErrorObject | undefined, subject: string): string {
  if (error === undefined) return `${subject} does not match the schema.`;
  const place = `${subject}${error.instancePath}`;
  const { params } = error;
  switch (error.keyword) {
    case 'required':
      return `${place} must have a member "${params.missingProperty}".`;
    case 'additionalProperties':
    case 'unevaluatedProperties':
      return `${place} has a member "${params.additionalProperty ?? params.unevaluatedProperty}" that the schema does not know; remove it.`;
    case 'enum':
      return `${place} must be one of ${JSON.stringify(params.allowedValues)}.`;
    case 'const':
      return `${place} must be ${JSON.stringify(params.allowedValue)}.`;
    default:
      return `${place} ${error.message ?? 'does not match the schema'}.`;
  }
}
