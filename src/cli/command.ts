import type { ParseArgsConfig } from 'node:util';

/** What a command is given: its options as `parseArgs` read them, and what every command needs. */
export type CommandInput = {
  values: Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;
  /** What stands after the command's name. */
  positionals: readonly string[];
  /** The gateway, without a slash at its end. */
  url: string;
  print(text: string): void;
  /** For warnings, which are no part of the answer. */
  complain(text: string): void;
  /** The first line of standard input. */
  readFirstLine(): Promise<string>;
  /** Aborted by SIGINT and SIGTERM. */
  signal: AbortSignal;
};

/** One command of `millicent`. Exit codes: 0 all well, 1 what was asked about is not as it should be, 2 misuse. */
export type Command = {
  options: NonNullable<ParseArgsConfig['options']>;
  /** A line for each option: how it is written, and what it does. */
  optionTexts: readonly (readonly [string, string])[];
  run(input: CommandInput): Promise<number>;
};

/** Misuse: its message is all that is printed, with exit code 2. */
export class UsageError extends Error {}

/** An option that takes a text; undefined when it was left out. */
export function textOf(input: Pick<CommandInput, 'values'>, name: string): string | undefined {
  const value = input.values[name];
  return typeof value === 'string' ? value : undefined;
}

/** An option that may be given several times, or once. */
export function textsOf(input: Pick<CommandInput, 'values'>, name: string): string[] {
  const value = input.values[name];
  return [value ?? []].flat().filter((one) => typeof one === 'string');
}
