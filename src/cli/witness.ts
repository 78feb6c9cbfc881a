import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemClock } from '../core/clock.ts';
import { type Log, silentLog } from '../core/log.ts';
import {
  createNoteSigner,
  createWitness,
  type Fork,
  KEY_TYPES,
  openWitnessFolder,
  parseLogVkey,
  serveWitness,
} from '../provenance/index.ts';
import { type Command, type CommandInput, textOf, textsOf, UsageError } from './command.ts';

const LISTEN_DEFAULT = '127.0.0.1:4030';

export const witnessCommand: Command = {
  options: {
    listen: { type: 'string' },
    name: { type: 'string' },
    key: { type: 'string' },
    state: { type: 'string' },
    log: { type: 'string', multiple: true },
  },
  optionTexts: [
    ['--listen <host:port>', `where it is served; ${LISTEN_DEFAULT} when left out`],
    ['--name <name>', 'what it is called, for example witness.example/w1'],
    ['--key <file>', 'its Ed25519 key as PEM; made at the first start'],
    [
      '--state <folder>',
      'where it keeps what it cosigned; it goes with the key, and neither works without the other',
    ],
    ['--log <vkey>', 'a log it knows, by its key; several times for several logs or keys'],
  ],
  run,
};

async function run(input: CommandInput): Promise<number> {
  const { signal, print, complain } = input;
  const on = readListen(textOf(input, 'listen') ?? LISTEN_DEFAULT);
  const [name, keyPath, folder] = ['name', 'key', 'state'].map((option) => required(input, option));
  const logs = textsOf(input, 'log').map(parseLogVkey);
  if (logs.length === 0) throw new UsageError('--log is missing: a witness knows at least one log');
  const key = await readOrMakeKey(keyPath ?? '');
  const signer = createNoteSigner({ name: name ?? '', privateKeyPem: key.pem, type: KEY_TYPES.cosignature });
  const store = await openWitnessFolder({ folder: folder ?? '', vkey: signer.vkey, isKeyNew: key.isNew });
  const onFork = (fork: Fork) => complain(describeFork(fork));
  const witness = await createWitness({ signer, logs, store, clock: systemClock, onFork });
  const server = await serveWitness({ witness, log: complainingLog(complain) }, on);
  print(`${signer.vkey}\n${server.url}`);
  if (!signal.aborted) await once(signal, 'abort');
  await server.close();
  return 0;
}

function required(input: CommandInput, option: string): string {
  const value = textOf(input, option);
  if (value === undefined) throw new UsageError(`--${option} is missing`);
  return value;
}

function readListen(text: string): { host: string; port: number } {
  const [, bracketed, plain, digits] =
    /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):([0-9]{1,5})$/.exec(text) ?? [];
  const [host, port] = [bracketed ?? plain, Number(digits)];
  if (host === undefined || port > 65_535) throw new UsageError(`--listen ${text} is not <host>:<port>`);
  return { host, port };
}

/** The key is on the disk before anything is signed with it: a lost key is a witness that nobody knows. */
async function readOrMakeKey(path: string): Promise<{ pem: string; isNew: boolean }> {
  const known = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined;
    throw cause;
  });
  if (known !== undefined) return { pem: known, isNew: false };
  await mkdir(dirname(path), { recursive: true });
  const { privateKey } = generateKeyPairSync('ed25519');
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(pem);
    await file.sync();
  } finally {
    await file.close();
  }
  return { pem, isNew: true };
}

function describeFork({ origin, held, presented }: Fork): string {
  return `FORK: ${origin} signed two roots for one size. Cosigned here:\n${held}\nPresented now:\n${presented}`;
}

function complainingLog(complain: CommandInput['complain']): Log {
  const tell = (fields: object, message: string) => {
    const cause = 'err' in fields && fields.err instanceof Error ? `: ${fields.err.message}` : '';
    complain(`${message}${cause}`);
  };
  return { ...silentLog, warn: tell, error: tell };
}
