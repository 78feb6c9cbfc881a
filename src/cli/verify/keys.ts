import { NoteError, type NoteKey, parseLogVkey, parseWitnessVkey } from '../../provenance/index.ts';
import { type CommandInput, textsOf, UsageError } from '../command.ts';

/** What an option that may be given several times was given; undefined when it was not. */
export function readGiven(input: Pick<CommandInput, 'values'>, name: string): string[] | undefined {
  const given = textsOf(input, name);
  return given.length === 0 ? undefined : given;
}

/** The same for a log's keys: one that is none is misuse, and not a log that fails. */
export function readVkeys(input: Pick<CommandInput, 'values'>, name: string): string[] | undefined {
  const given = readGiven(input, name);
  for (const vkey of given ?? []) readKey(vkey, { name, parse: parseLogVkey });
  return given;
}

/** And for the keys of witnesses. */
export function readWitnesses(input: Pick<CommandInput, 'values'>, name: string): NoteKey[] {
  return textsOf(input, name).map((vkey) => readKey(vkey, { name, parse: parseWitnessVkey }));
}

function readKey(vkey: string, option: { name: string; parse(vkey: string): NoteKey }): NoteKey {
  try {
    return option.parse(vkey);
  } catch (cause) {
    if (!(cause instanceof NoteError)) throw cause;
    throw new UsageError(`--${option.name} "${vkey}" is no key for that: ${cause.message}`);
  }
}

export function readBlockHashes(input: Pick<CommandInput, 'values'>): string[] | undefined {
  const given = readGiven(input, 'block-hash');
  const wrong = given?.find((hash) => !/^0x[0-9a-fA-F]{64}$/.test(hash));
  if (wrong !== undefined)
    throw new UsageError(`--block-hash "${wrong}" is not 0x and 64 hexadecimal digits`);
  return given;
}
