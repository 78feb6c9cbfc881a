import { NoteError, parseVkey } from '../../provenance/index.ts';
import { type CommandInput, textsOf, UsageError } from '../command.ts';

/** What an option that may be given several times was given; undefined when it was not. */
export function readGiven(input: Pick<CommandInput, 'values'>, name: string): string[] | undefined {
  const given = textsOf(input, name);
  return given.length === 0 ? undefined : given;
}

/** The same for keys: one that is none is misuse, and not a log that fails. */
export function readVkeys(input: Pick<CommandInput, 'values'>, name: string): string[] | undefined {
  const given = readGiven(input, name);
  for (const vkey of given ?? []) {
    try {
      parseVkey(vkey);
    } catch (cause) {
      if (!(cause instanceof NoteError)) throw cause;
      throw new UsageError(`--${name} "${vkey}" is no key: ${cause.message}`);
    }
  }
  return given;
}

export function readBlockHashes(input: Pick<CommandInput, 'values'>): string[] | undefined {
  const given = readGiven(input, 'block-hash');
  const wrong = given?.find((hash) => !/^0x[0-9a-fA-F]{64}$/.test(hash));
  if (wrong !== undefined)
    throw new UsageError(`--block-hash "${wrong}" is not 0x and 64 hexadecimal digits`);
  return given;
}
