import { sign as signBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createNoteSigner,
  encodeCheckpoint,
  encodeTlogProof,
  inclusionPath,
  KEY_TYPES,
  leafHashOf,
  merkleRoot,
  NoteError,
  newReceiptKeyPem,
  parseNote,
  parseSignatureLine,
  parseTlogProof,
  parseVkey,
  signLine,
  signNote,
  verifyNote,
  verifyTlogProof,
} from '../../src/provenance/index.ts';

const EXAMPLE_KEY = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k';
const EXAMPLE_NOTE = `This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
`;
const TEXT = 'log.example\n1\nAAAA\n';
const SIGNER = createNoteSigner({ name: 'log.example', privateKeyPem: newReceiptKeyPem() });
const OTHER = createNoteSigner({ name: 'log.example', privateKeyPem: newReceiptKeyPem() });
const WITNESS = createNoteSigner({
  ...{ name: 'witness.example', privateKeyPem: newReceiptKeyPem() },
  type: KEY_TYPES.cosignature,
});
const KEY = parseVkey(SIGNER.vkey);
const WITNESS_KEY = parseVkey(WITNESS.vkey);

describe('a signed note', () => {
  it('of the specification is verified by its key', () => {
    const { text, signatures } = verifyNote(EXAMPLE_NOTE, [parseVkey(EXAMPLE_KEY)]);
    expect(text).toBe('This is an example message.\n');
    expect(signatures).toHaveLength(1);
    expect(() => verifyNote(EXAMPLE_NOTE.replace('an', 'no'), [parseVkey(EXAMPLE_KEY)])).toThrow(NoteError);
  });

  it('is verified by each of its keys alone, and ignores every other', () => {
    const note = signNote(TEXT, [SIGNER, OTHER, WITNESS], 1_763_702_345);
    expect(verifyNote(note, [KEY]).signatures.map(({ key }) => key.keyId)).toEqual([SIGNER.keyId]);
    expect(verifyNote(note, [parseVkey(OTHER.vkey)]).signatures).toHaveLength(1);
    expect(verifyNote(note, [WITNESS_KEY]).signatures).toMatchObject([{ time: 1_763_702_345 }]);
    expect(verifyNote(note, [KEY, WITNESS_KEY]).signatures).toHaveLength(2);
    expect(verifyNote(note, [KEY]).text).toBe(TEXT);
  });

  it('without a known key is refused', () => {
    expect(() => verifyNote(signNote(TEXT, [OTHER]), [KEY])).toThrow('No known key');
    expect(() => verifyNote(signNote(TEXT, [OTHER]), [])).toThrow('No known key');
  });

  it("with a known key's wrong signature is refused, whatever else is right", () => {
    const wrong = signLine('log.example\n2\nAAAA\n', SIGNER);
    expect(() => verifyNote(`${TEXT}\n${wrong}${signLine(TEXT, WITNESS, 1)}`, [KEY, WITNESS_KEY])).toThrow(
      'wrong',
    );
    const late = signLine(TEXT, WITNESS, 2).split(' ');
    const bytes = Buffer.from(late[2] ?? '', 'base64');
    bytes.writeBigUInt64BE(3n, 4);
    const moved = `${late[0]} ${late[1]} ${bytes.toString('base64')}\n`;
    expect(() => verifyNote(`${signNote(TEXT, [SIGNER])}${moved}`, [KEY, WITNESS_KEY])).toThrow('wrong');
    // A witness that is not asked for may say what it likes.
    expect(verifyNote(`${signNote(TEXT, [SIGNER])}${moved}`, [KEY]).signatures).toHaveLength(1);
  });

  it('that a key signs twice counts once, by the first line', () => {
    const [first, second] = [signLine(TEXT, WITNESS, 1), signLine(TEXT, WITNESS, 2)];
    expect(verifyNote(`${TEXT}\n${first}${second}`, [WITNESS_KEY]).signatures).toMatchObject([{ time: 1 }]);
    const wrong = signLine(`${TEXT}x\n`, WITNESS, 1);
    expect(() => verifyNote(`${TEXT}\n${wrong}${second}`, [WITNESS_KEY])).toThrow('wrong');
    expect(verifyNote(`${TEXT}\n${second}${wrong}`, [WITNESS_KEY]).signatures).toMatchObject([{ time: 2 }]);
  });

  it('does not take a cosignature for a signature, nor a signature for a cosignature', () => {
    const pem = newReceiptKeyPem();
    const plain = createNoteSigner({ name: 'x', privateKeyPem: pem });
    const stamped = createNoteSigner({ name: 'x', privateKeyPem: pem, type: KEY_TYPES.cosignature });
    expect(plain.keyId).not.toBe(stamped.keyId);
    const crossed = (id: string, bytes: Buffer) =>
      `${TEXT}\n— x ${Buffer.concat([Buffer.from(id, 'hex'), bytes]).toString('base64')}\n`;
    const signature = signBytes(null, Buffer.from(TEXT), plain.privateKey);
    expect(verifyNote(crossed(plain.keyId, signature), [plain]).signatures).toHaveLength(1);
    expect(() => verifyNote(crossed(stamped.keyId, signature), [stamped])).toThrow('wrong');
    const stamp = parseSignatureLine(signLine(TEXT, stamped, 5)).signature;
    expect(() => verifyNote(crossed(plain.keyId, stamp), [plain])).toThrow('wrong');
  });

  it('takes at least 16 signatures and no more than 100', () => {
    const line = signLine(TEXT, OTHER);
    expect(verifyNote(signNote(TEXT, [SIGNER]) + line.repeat(99), [KEY]).signatures).toHaveLength(1);
    expect(() => verifyNote(signNote(TEXT, [SIGNER]) + line.repeat(100), [KEY])).toThrow('more than 100');
  });

  it('is told from its signatures by the last empty line', () => {
    const text = 'one\n\n— log.example AAAA\n\nfour\n';
    expect(verifyNote(signNote(text, [SIGNER]), [KEY]).text).toBe(text);
  });

  it.each([
    ['nothing', ''],
    ['no signature', `${TEXT}\n`],
    ['no empty line', signNote(TEXT, [SIGNER]).replace('\n\n', '\n')],
    ['no last line feed', signNote(TEXT, [SIGNER]).slice(0, -1)],
    ['carriage returns', signNote(TEXT, [SIGNER]).replaceAll('\n', '\r\n')],
    ['a tab', signNote(TEXT, [SIGNER]).replace('1', '\t')],
    ['a NUL', signNote(TEXT, [SIGNER]).replace('1', '\0')],
    ['half a surrogate pair', signNote(TEXT, [SIGNER]).replace('1', '\ud800')],
    ['a hyphen for a dash', signNote(TEXT, [SIGNER]).replace('—', '-')],
    ['two spaces', signNote(TEXT, [SIGNER]).replace('— ', '—  ')],
    ['a plus in a name', signNote(TEXT, [SIGNER]).replace('— log', '— l+g')],
    ['a space of another kind in a name', signNote(TEXT, [SIGNER]).replace('— log', '— l\u2003g')],
    ['a base64 without padding', signNote(TEXT, [SIGNER]).replace(/=+\n$/, '\n')],
    ['base64 with spare bits', `${TEXT}\n— x AAAAAAB=\n`],
    ['a signature of 4 bytes', `${TEXT}\n— x AAAAAA==\n`],
    ['more than a million characters', `${'x'.repeat(1_000_000)}\n\n— x AAAAAAA=\n`],
  ])('is none with %s', (_, note) => {
    expect(() => parseNote(note)).toThrow(NoteError);
    expect(() => verifyNote(note, [KEY])).toThrow(NoteError);
  });

  it('of any text at all is read or refused, and nothing else is thrown', () => {
    const note = signNote(TEXT, [SIGNER, WITNESS], 1);
    const changed = fc
      .tuple(fc.nat(note.length), fc.nat(8), fc.string({ unit: 'binary', maxLength: 6 }))
      .map(([at, cut, put]) => note.slice(0, at) + put + note.slice(at + cut));
    const property = fc.property(fc.oneof(changed, fc.string({ unit: 'binary' })), (text) => {
      try {
        const read = verifyNote(text, [KEY, WITNESS_KEY]);
        expect(read.text).toBe(TEXT);
      } catch (error) {
        expect(error).toBeInstanceOf(NoteError);
      }
    });
    fc.assert(property, { numRuns: 2_000 });
  });

  it('is not made of a text that is none, nor cosigned without a time', () => {
    expect(() => signNote('no line feed', [SIGNER])).toThrow(NoteError);
    expect(() => signNote('a\tb\n', [SIGNER])).toThrow(NoteError);
    for (const time of [undefined, -1, 0.5, 2 ** 53]) {
      expect(() => signLine(TEXT, WITNESS, time)).toThrow(NoteError);
    }
  });
});

describe('a verifier key', () => {
  it('is read back as it was written', () => {
    expect(parseVkey(EXAMPLE_KEY)).toMatchObject({ name: 'example.com/foo', keyId: '530d903a', type: 1 });
    expect(parseVkey(WITNESS.vkey)).toMatchObject({ name: 'witness.example', type: 4, vkey: WITNESS.vkey });
  });

  it.each([
    ['nothing', ''],
    ['no name', EXAMPLE_KEY.slice('example.com/foo'.length)],
    ['another id', EXAMPLE_KEY.replace('530d903a', '530d903b')],
    ['another name', EXAMPLE_KEY.replace('example', 'elpmaxe')],
    ['a capital id', EXAMPLE_KEY.replace('530d903a', '530D903A')],
    ['a type unknown here', EXAMPLE_KEY.replace('+Aek', '+Buk')],
    ['31 bytes', EXAMPLE_KEY.slice(0, -4)],
    ['a space in the name', EXAMPLE_KEY.replace('.com', ' com')],
    ['a line feed at the end', `${EXAMPLE_KEY}\n`],
    ['ten thousand characters', 'x'.repeat(10_000)],
  ])('is none with %s', (_, text) => {
    expect(() => parseVkey(text)).toThrow(NoteError);
  });

  it('is not made for a name with a space, nor of a key that is no Ed25519 key', () => {
    expect(() => createNoteSigner({ name: 'a b', privateKeyPem: newReceiptKeyPem() })).toThrow('spaces');
    expect(() => createNoteSigner({ name: 'a', privateKeyPem: 'secret' })).toThrow(/^((?!secret).)*$/);
  });
});

describe('a tlog-proof', () => {
  const leaves = Array.from({ length: 7 }, (_, at) => leafHashOf(`leaf ${at}`));
  const body = { origin: 'log.example', treeSize: 7, root: merkleRoot(leaves) };
  const checkpoint = signNote(encodeCheckpoint(body), [SIGNER, WITNESS], 9);
  const proof = { index: 4, path: inclusionPath(leaves, 4), checkpoint };
  const text = encodeTlogProof(proof);
  const expected = {
    ...{ leafHash: leaves[4] ?? Buffer.alloc(0), origin: 'log.example' },
    ...{ logKeys: [KEY], witnesses: [WITNESS_KEY] },
  };

  it('is spelled as the specification says, read back, and verified', () => {
    expect(text).toBe(
      `c2sp.org/tlog-proof@v1\nindex 4\n${proof.path.map((hash) => `${hash.toString('base64')}\n`).join('')}\n${checkpoint}`,
    );
    expect(parseTlogProof(text)).toEqual(proof);
    const extra = { ...proof, extra: Buffer.from('x') };
    expect(parseTlogProof(encodeTlogProof(extra))).toEqual(extra);
    const verified = verifyTlogProof(text, expected);
    expect(verified).toMatchObject({ index: 4, checkpoint: { treeSize: 7, cosignatures: [{ time: 9 }] } });
  });

  it('of the only leaf has no hashes', () => {
    const [leafHash = Buffer.alloc(0)] = leaves;
    const note = signNote(encodeCheckpoint({ ...body, treeSize: 1, root: leafHash }), [SIGNER]);
    const short = encodeTlogProof({ index: 0, path: [], checkpoint: note });
    expect(short.startsWith('c2sp.org/tlog-proof@v1\nindex 0\n\nlog.example\n')).toBe(true);
    expect(verifyTlogProof(short, { ...expected, leafHash }).index).toBe(0);
  });

  it.each([
    ['nothing', ''],
    ['another version', text.replace('@v1', '@v2')],
    ['no index', text.replace('index 4\n', '')],
    ['a leading zero', text.replace('index 4', 'index 04')],
    ['an index past 2^53', text.replace('index 4', 'index 9007199254740993')],
    [
      'a hash of 31 bytes',
      text.replace(/index 4\n.*\n/, `index 4\n${Buffer.alloc(31).toString('base64')}\n`),
    ],
    ['a hash that is no base64', text.replace(/index 4\n/, 'index 4\n!\n')],
    [
      '65 hashes',
      text.replace(/index 4\n/, `index 4\n${`${Buffer.alloc(32).toString('base64')}\n`.repeat(65)}`),
    ],
    [
      'a million hashes',
      text.replace(/index 4\n/, `index 4\n${`${Buffer.alloc(32).toString('base64')}\n`.repeat(1e6)}`),
    ],
    ['empty extra data', text.replace('index', 'extra \nindex')],
    ['no empty line', text.replace('\n\n', '\n')],
    ['no checkpoint', text.slice(0, text.indexOf('\n\n') + 2)],
    ['a checkpoint of another size', text.replace('\n7\n', '\n8\n')],
    ['a hash too few', text.replace(/index 4\n.*\n/, 'index 4\n')],
    ['a hash too many', text.replace(/index 4\n/, `index 4\n${Buffer.alloc(32).toString('base64')}\n`)],
    ['another index', text.replace('index 4', 'index 5')],
  ])('proves nothing with %s, and says why', (_, changed) => {
    expect(changed).not.toBe(text);
    expect(() => verifyTlogProof(changed, expected)).toThrow(NoteError);
  });

  it('proves nothing about another leaf, of another log or under another key', () => {
    expect(() => verifyTlogProof(text, { ...expected, leafHash: leafHashOf('x') })).toThrow('does not lead');
    expect(() => verifyTlogProof(text, { ...expected, origin: 'x' })).toThrow('not of x');
    expect(() => verifyTlogProof(text, { ...expected, logKeys: [parseVkey(OTHER.vkey)] })).toThrow(
      'did not sign',
    );
  });
});
