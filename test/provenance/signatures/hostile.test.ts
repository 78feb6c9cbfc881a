import { afterAll, expect, test } from 'vitest';
import {
  detectFormat,
  parsePublicKey,
  SIGNATURE_CHARACTERS_MAX,
  verifySignature,
} from '../../../src/provenance/signatures/signature.ts';
import { createSigningTools } from '../../harness/signing-tools.ts';

const tools = createSigningTools();
afterAll(() => tools.remove());

const namespace = 'mcp-release@market.example';
const data = Buffer.from('the archive of a release');
const at = new Date();
const ROUNDS = 400;
const KINDS = ['valid', 'invalid', 'other-key'];

/** The same pseudo-random numbers each time (xorshift32): what fails once fails again. */
function createDice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % sides;
  };
}

function makeSamples() {
  const ssh = tools.ssh.makeKey();
  const rsa = tools.ssh.makeKey('rsa', ['-b', '2048']);
  const minisign = tools.minisign.makeKey();
  const fingerprint = tools.gpg.makeKey({ at: new Date(at.getTime() - 86_400_000) });
  tools.gpg.addSubkey(fingerprint);
  return [
    { format: 'ssh', key: ssh.publicKey, signature: tools.ssh.sign(ssh.path, data, { namespace }) },
    { format: 'ssh', key: rsa.publicKey, signature: tools.ssh.sign(rsa.path, data, { namespace }) },
    {
      format: 'openpgp',
      key: tools.gpg.exportKey(fingerprint),
      signature: tools.gpg.sign(fingerprint, data),
    },
    { format: 'minisign', key: minisign.publicKey, signature: tools.minisign.sign(minisign.path, data) },
  ] as const;
}

test('whatever is sent as key or signature, the answer is a verdict and never an exception', async () => {
  const roll = createDice(20_261_121);
  for (const { format, key, signature } of makeSamples()) {
    const good = await parsePublicKey(format, key);
    if (good.kind === 'refused') throw new Error(good.reason);
    const input = { format, data, namespace, at };
    expect(detectFormat(signature)).toBe(format);
    expect(await verifySignature({ ...input, key: good.bytes, signature })).toMatchObject({ kind: 'valid' });
    for (let round = 0; round < ROUNDS; round += 1) {
      const bytes = spoil(good.bytes, roll);
      const spoiledText = format === 'minisign' ? bytes.toString('base64') : spellKey(format, bytes);
      expect(['key', 'refused']).toContain((await parsePublicKey(format, spoiledText)).kind);
      // Whoever verifies has the key from a database or a log, and that may be spoiled too.
      const { kind } = await verifySignature({ ...input, key: bytes, signature });
      expect(KINDS).toContain(kind);
      const text = spoilText(signature, roll);
      const verdict = await verifySignature({ ...input, key: good.bytes, signature: text });
      expect(KINDS).toContain(verdict.kind);
    }
  }
});

test('a signature of one format is not one of another, and one that is too long is not read', async () => {
  const samples = makeSamples();
  for (const { format, key } of samples) {
    const read = await parsePublicKey(format, key);
    if (read.kind === 'refused') throw new Error(read.reason);
    const input = { format, key: read.bytes, data, namespace, at };
    for (const other of samples.filter((sample) => sample.format !== format)) {
      const verdict = await verifySignature({ ...input, signature: other.signature });
      expect(verdict).toMatchObject({ kind: 'invalid' });
    }
    const long = await verifySignature({ ...input, signature: 'A'.repeat(SIGNATURE_CHARACTERS_MAX + 1) });
    expect(long).toMatchObject({ reason: expect.stringContaining('characters at most') });
  }
});

function spellKey(format: 'ssh' | 'openpgp', bytes: Buffer): string {
  return format === 'openpgp' ? bytes.toString('base64') : `ssh-ed25519 ${bytes.toString('base64')}`;
}

/** One to four changes: a byte, a piece cut out, a piece twice, the end cut off. */
function spoil(bytes: Buffer, roll: (sides: number) => number): Buffer {
  let spoiled = Buffer.from(bytes);
  for (let count = roll(4); count >= 0; count -= 1) {
    const [from, length] = [roll(spoiled.length || 1), roll(16)];
    const [before, piece] = [spoiled.subarray(0, from), spoiled.subarray(from, from + length)];
    const after = spoiled.subarray(from + length);
    const changed = Buffer.from(piece.map(() => roll(256)));
    spoiled = Buffer.concat(
      [[before, changed, after], [before, after], [before, piece, piece, after], [before]][roll(4)] ?? [],
    );
  }
  return spoiled;
}

function spoilText(text: string, roll: (sides: number) => number): string {
  return spoil(Buffer.from(text), roll).toString(roll(2) === 0 ? 'latin1' : 'utf8');
}
