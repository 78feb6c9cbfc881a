import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type Config, ConfigError } from './config.ts';
import { deriveKey } from './core/bytes.ts';

/** What only this installation knows. */
export type Secrets = {
  /** 32 bytes each; the first seals and derives, every one opens. */
  masters: readonly [Buffer, ...Buffer[]];
  receiptKeyPem: string;
  receiptKeyPreviousPem: string | undefined;
  /** Signs the checkpoints of the logs (Ed25519); the key before it signs beside it during a rotation. */
  logKeyPem: string;
  logKeyPreviousPem: string | undefined;
  adminKey: string | undefined;
};

/** What stands before the 32 bytes of a private key in PKCS#8 (RFC 8410). */
const ED25519_PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

const fileSchema = z.object({
  secret: z.string().regex(/^[0-9a-f]{64}$/),
  receiptKeyPem: z.string(),
  adminKey: z.string(),
});
type SecretsFile = z.infer<typeof fileSchema>;

/** The secrets of the environment; in development the missing ones are made once and kept under the data dir. */
export function readSecrets(config: Config): Secrets {
  const file = config.isProduction ? undefined : readOrMakeFile(config.dataDir);
  const masters = (config.secrets.length > 0 ? config.secrets : [file?.secret])
    .filter((hex) => hex !== undefined)
    .map((hex) => Buffer.from(hex, 'hex'));
  const [first, ...others] = masters;
  const receiptKeyPem = config.receiptKeyPem ?? file?.receiptKeyPem;
  if (!first || receiptKeyPem === undefined) throw new ConfigError('SECRET and RECEIPT_KEY must be set');
  return {
    masters: [first, ...others],
    receiptKeyPem,
    receiptKeyPreviousPem: config.receiptKeyPreviousPem,
    logKeyPem: config.provenance.logKeyPem ?? deriveEd25519Pem(first, 'log-key'),
    logKeyPreviousPem: config.provenance.logKeyPreviousPem,
    adminKey: config.adminKey ?? file?.adminKey,
  };
}

function makeEd25519Pem(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** In development the logs' key follows from the secret; in production it is given. */
function deriveEd25519Pem(secret: Buffer, purpose: string): string {
  const pkcs8 = Buffer.concat([ED25519_PKCS8_PREFIX, deriveKey(secret, purpose).subarray(0, 32)]);
  const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}

function readOrMakeFile(dataDir: string): SecretsFile {
  const path = join(dataDir, 'secrets.json');
  const existing = readFile(path);
  if (existing) return existing;
  const made: SecretsFile = {
    secret: randomBytes(32).toString('hex'),
    receiptKeyPem: makeEd25519Pem(),
    adminKey: `admin_${randomBytes(24).toString('hex')}`,
  };
  mkdirSync(dataDir, { recursive: true });
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, JSON.stringify(made, null, 2), { mode: 0o600 });
  try {
    // A link never replaces: of two processes that start together the first one's secrets stand.
    linkSync(draft, path);
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'EEXIST')) throw cause;
  } finally {
    rmSync(draft);
  }
  return readFile(path) ?? made;
}

function readFile(path: string): SecretsFile | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw cause;
  }
  return fileSchema.parse(JSON.parse(text));
}
