import { parseArgs } from 'node:util';
import { reconcile } from './reconcile.ts';

const USAGE = `Usage: millicent <command> [options]

  reconcile   hold every rail beside the books, to the last unit
      --adopt <name>    take what differs for the operator's own doing, under this name
      --json            the report as JSON

  --url <url>           the gateway; http://127.0.0.1:4020 when left out
  --admin-key <key>     its admin key; when left out, the first line of standard input
`;

/** The `millicent` command. Exit codes: 0 all well, 1 what was asked about is not as it should be, 2 misuse. */
async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      url: { type: 'string', default: 'http://127.0.0.1:4020' },
      'admin-key': { type: 'string' },
      adopt: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const [command] = positionals;
  if (values.help || command === undefined) {
    process.stdout.write(USAGE);
    return values.help ? 0 : 2;
  }
  switch (command) {
    case 'reconcile':
      return reconcile({
        url: values.url,
        adminKey: values['admin-key'] ?? (await readFirstLine()),
        adoptAs: values.adopt,
        isJson: values.json,
        print: (text) => process.stdout.write(`${text}\n`),
      });
    default:
      process.stderr.write(`millicent: there is no command "${command}"\n\n${USAGE}`);
      return 2;
  }
}

async function readFirstLine(): Promise<string> {
  let text = '';
  for await (const chunk of process.stdin) {
    text += chunk;
    if (text.includes('\n')) break;
  }
  return text.split('\n')[0]?.trim() ?? '';
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (cause: unknown) => {
    process.stderr.write(`millicent: ${cause instanceof Error ? cause.message : String(cause)}\n`);
    process.exitCode = 2;
  },
);
