import { parseArgs } from 'node:util';
import { type Command, UsageError } from './command.ts';
import { COMMANDS, type CommandEntry } from './commands.ts';
import { toOneLine, toPrintable } from './printable.ts';

const URL_DEFAULT = 'http://127.0.0.1:4020';

/** The `millicent` command. */
async function main(words: string[]): Promise<number> {
  const entry = COMMANDS.find(({ name }) => name.split(' ').every((word, at) => words[at] === word));
  if (!entry) {
    const isHelp = words.some((word) => word === '--help' || word === '-h');
    if (isHelp || words[0] === undefined) {
      process.stdout.write(describeAll());
      return isHelp ? 0 : 2;
    }
    process.stderr.write(`millicent: there is no command "${words[0]}"\n\n${describeAll()}`);
    return 2;
  }
  const command = await entry.load();
  const { values, positionals } = parseArgs({
    args: words.slice(entry.name.split(' ').length),
    allowPositionals: true,
    options: {
      ...command.options,
      url: { type: 'string', default: URL_DEFAULT },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help === true) {
    process.stdout.write(describe(entry, command));
    return 0;
  }
  return command.run({
    ...{ values, positionals, url: String(values.url).replace(/\/+$/, ''), readFirstLine },
    print: (text) => process.stdout.write(`${toPrintable(text)}\n`),
    complain: (text) => process.stderr.write(`${toPrintable(text)}\n`),
    signal: untilStopped(),
  });
}

function untilStopped(): AbortSignal {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
  return stop.signal;
}

async function readFirstLine(): Promise<string> {
  let text = '';
  for await (const chunk of process.stdin) {
    text += chunk;
    if (text.includes('\n')) break;
  }
  return text.split('\n')[0]?.trim() ?? '';
}

function describeAll(): string {
  const lines = COMMANDS.map(
    ({ name, takes = '', summary }) => `  ${`${name} ${takes}`.padEnd(38)} ${summary}`,
  );
  return `Usage: millicent <command> [options]

${lines.join('\n')}

  millicent <command> --help tells the options of one. Exit codes: 0 all well, 1 what was asked about is not as it
  should be, 2 misuse.
`;
}

function describe({ name, takes, summary }: CommandEntry, { optionTexts }: Command): string {
  const options = [...optionTexts, ['--url <url>', `the gateway; ${URL_DEFAULT} when left out`] as const];
  const lines = options.map(([option, text]) => `  ${option.padEnd(28)} ${text}`);
  return `Usage: millicent ${name}${takes === undefined ? '' : ` ${takes}`} [options]

${summary}

${lines.join('\n')}
`;
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (cause: unknown) => {
    const message = cause instanceof Error ? cause.message : String(cause);
    process.stderr.write(
      `millicent: ${toOneLine(message)}\n${cause instanceof UsageError ? 'Try --help.\n' : ''}`,
    );
    process.exitCode = 2;
  },
);
