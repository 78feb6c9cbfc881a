import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Option_u32Z } from 'lightningdevkit';
import { initializeWasmFromBinary, Option_u16Z, Option_u32Z_Some, Option_u64Z } from 'lightningdevkit';

let loading: Promise<void> | undefined;

/** Compiles LDK once per process; every object of it comes after. */
export function loadLdk(): Promise<void> {
  loading ??= compile();
  return loading;
}

async function compile(): Promise<void> {
  const folder = dirname(createRequire(import.meta.url).resolve('lightningdevkit'));
  await initializeWasmFromBinary(await readFile(join(folder, 'liblightningjs.wasm')));
}

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export const fromHex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));

/** What an optional height holds. */
export function readU32(option: Option_u32Z): number | undefined {
  return option instanceof Option_u32Z_Some ? option.some : undefined;
}

export function optionalU64(value: bigint | undefined): Option_u64Z {
  return value === undefined ? Option_u64Z.constructor_none() : Option_u64Z.constructor_some(value);
}

export function optionalU16(value: number | undefined): Option_u16Z {
  return value === undefined ? Option_u16Z.constructor_none() : Option_u16Z.constructor_some(value);
}

type Success<T> = { prototype: { res: T } };

/** The value of one of LDK's results, whose classes have no common type: `success` names the one that holds it. */
export function unwrap<T>(result: { is_ok(): boolean }, success: Success<T>, what: string): T {
  if (isSuccess(result, success)) return result.res;
  throw new Error(`${what}: ${describe('err' in result ? result.err : undefined)}`);
}

function isSuccess<T>(result: object, success: Success<T>): result is { res: T } {
  return Object.getPrototypeOf(result) === success.prototype;
}

function describe(error: unknown): string {
  if (typeof error === 'string' || typeof error === 'number') return String(error);
  if (typeof error !== 'object' || error === null) return 'refused';
  if ('to_str' in error && typeof error.to_str === 'function') return String(error.to_str());
  const text = 'err' in error && typeof error.err === 'string' ? `: ${error.err}` : '';
  return `${error.constructor.name}${text}`;
}
