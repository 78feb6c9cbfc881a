import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Form } from '../../../src/payments/form.ts';
import type { Offer } from '../../../src/payments/rail.ts';
import type { Carried, Challenge, ChallengeInput, Wire } from '../../../src/payments/wire.ts';
import { quoteOf } from '../rails/conformance.ts';

/** A wire with a client that speaks it. */
export type WireHarness = {
  wire: Wire;
  /** Offers that the wire can spell. */
  offers: Offer[];
  /** What an honest client sends in answer to a challenge. */
  answer(challenge: Challenge): Promise<{ headers: Record<string, string>; quoteToken: string | undefined }>;
  /** The header that carries the credential, lower case. */
  credentialHeader: string;
  /** Headers of requests that pay by another wire, or not at all. */
  foreign: Record<string, string>[];
  /** Values of the credential header that are this wire's, and broken. */
  broken: string[];
  /** What makes any text a value that is this wire's, where its header is shared with others. */
  spell?: (text: string) => string;
  /** What is done to an honest credential's header, where that is not base64 JSON as a whole. */
  damage?: (honest: string) => fc.Arbitrary<string>;
  /** The protocol knows no receipt. */
  hasReceipt?: false;
};

const HEADER_CHARS_MAX = 8 * 1024;
const RUNS = 10_000;
/** More than the sealed quote of a call takes; wires that repeat it in every challenge fit no longer one. */
const QUOTE_TOKEN_CHARS = 400;

/** What a carrier of these headers brings. */
export function carriedBy(headers: Record<string, string>): Carried {
  const lower = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  return { header: (name) => lower.get(name.toLowerCase()) };
}

/** What every wire promises. */
export function describeWire(name: string, harness: WireHarness): void {
  describe(`${name}: what every wire promises`, () => {
    const { wire, offers, credentialHeader } = harness;
    const spell = harness.spell ?? ((text: string) => text);
    const input = (changes: Partial<ChallengeInput> = {}): ChallengeInput => ({
      quote: quoteOf(),
      quoteToken: `q1.${'t'.repeat(500)}`,
      offers,
      carried: carriedBy({}),
      refusal: undefined,
      ...changes,
    });
    const challengeOf = (changes: Partial<ChallengeInput> = {}): Challenge => {
      const challenge = wire.challenge(input(changes));
      if (challenge === undefined) throw new Error('the wire spells no challenge');
      return challenge;
    };
    const readHeader = (value: string) => wire.read(carriedBy({ [credentialHeader]: value }));

    async function honestForm(): Promise<Form> {
      const { headers } = await harness.answer(challengeOf());
      const reading = wire.read(carriedBy(headers));
      if (reading?.kind !== 'credential') throw new Error('an honest credential is not read');
      return reading.credential.form;
    }

    test('a client that answers the challenge is read back with its quote', async () => {
      const quoteToken = `q1.${'abc-_'.repeat(100)}`;
      const answer = await harness.answer(challengeOf({ quoteToken }));
      const reading = wire.read(carriedBy(answer.headers));
      if (reading?.kind !== 'credential') throw new Error(JSON.stringify(reading));
      expect(reading.credential.wire).toBe(wire.name);
      expect(offers.map(formKindOf)).toContain(reading.credential.form.kind);
      expect(reading.credential.quoteToken).toBe(answer.quoteToken === undefined ? undefined : quoteToken);
    });

    test('a challenge stays under 8 KB with the longest text and token that the gateway makes', () => {
      const quote = quoteOf();
      quote.resource.url = `https://gateway.example/invoke/${'n'.repeat(200)}`;
      quote.resource.description = 'ü'.repeat(20_000);
      const { headers } = challengeOf({
        quote,
        quoteToken: 'q'.repeat(QUOTE_TOKEN_CHARS),
        refusal: { detail: 'x'.repeat(300) },
      });
      const characters = headers.reduce((sum, [header, value]) => sum + header.length + value.length, 0);
      expect(characters).toBeLessThan(HEADER_CHARS_MAX);
    });

    test('no offer that it can spell, no challenge', () => {
      expect(wire.challenge(input({ offers: [] }))).toBeUndefined();
    });

    test('a challenge tells why an earlier credential did not pay', () => {
      const { headers, body } = challengeOf({ refusal: { detail: 'The authorization expired.' } });
      const spelled = JSON.stringify(body) + headers.map(([, value]) => decodeLoosely(value)).join();
      expect(spelled).toContain('The authorization expired.');
    });

    test("another wire's credential is left alone", () => {
      for (const headers of harness.foreign) expect(wire.read(carriedBy(headers))).toBeUndefined();
    });

    test('its own broken credential is refused with a reason for the client', () => {
      for (const value of harness.broken) {
        expect(readHeader(value), value).toMatchObject({
          kind: 'malformed',
          reason: expect.stringMatching(/^\S.{5,}\.$/),
        });
      }
    });

    test(`${RUNS} random headers never make it throw`, () => {
      fc.assert(
        fc.property(anyHeader(), (value) => {
          expect(readHeader(spell(value))?.kind).toMatch(/^(credential|malformed)$/);
        }),
        { numRuns: RUNS },
      );
    });

    test(`${RUNS} damaged copies of an honest credential never make it throw`, async () => {
      const { headers } = await harness.answer(challengeOf());
      const honest = carriedBy(headers).header(credentialHeader) ?? '';
      fc.assert(
        fc.property((harness.damage ?? damaged)(honest), (value) => {
          const reading = readHeader(value);
          expect(reading?.kind).toMatch(/^(credential|malformed)$/);
          if (reading?.kind === 'malformed') expect(reading.reason.length).toBeLessThan(200);
        }),
        { numRuns: RUNS },
      );
    });

    test('a receipt names the settlement and carries nothing that breaks a header', async () => {
      const form = await honestForm();
      const reference = `0x${'ab'.repeat(32)}`;
      const headers = wire.receipt({
        ...{ form, payer: 'eip155:84532:0x00', reference },
        ...{ rail: 'evm', settledAt: new Date() },
      });
      expect(headers.length > 0).toBe(harness.hasReceipt ?? true);
      for (const [header, value] of headers) {
        expect(`${header}${value}`).toMatch(/^[\x20-\x7e]+$/);
        expect(decodeLoosely(value)).toContain(reference);
      }
    });
  });
}

/** How an offer is answered. */
function formKindOf(offer: Offer): Form['kind'] {
  return offer.kind === 'bolt11' ? 'preimage' : offer.kind;
}

/** A header's text, and what it says if it is base64. */
function decodeLoosely(value: string): string {
  return value + Buffer.from(value, 'base64').toString('utf8');
}

function anyHeader(): fc.Arbitrary<string> {
  const encode = (text: string) => Buffer.from(text, 'utf8').toString('base64');
  return fc.oneof(
    fc.string({ maxLength: 300 }),
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.base64String({ maxLength: 400 }),
    fc.json({ maxDepth: 4 }).map(encode),
    fc.json({ maxDepth: 2 }),
  );
}

/** One change to a base64 JSON document: a character, a cut, or a member replaced by anything. */
export function damaged(honest: string): fc.Arbitrary<string> {
  const at = fc.nat({ max: honest.length });
  const document: unknown = JSON.parse(Buffer.from(honest, 'base64').toString('utf8'));
  const paths = pathsOf(document);
  return fc.oneof(
    fc.tuple(at, fc.string({ minLength: 1, maxLength: 3 })).map(([index, text]) => {
      return honest.slice(0, index) + text + honest.slice(index + 1);
    }),
    fc.tuple(at, at).map(([from, to]) => honest.slice(from, to)),
    fc.tuple(fc.constantFrom(...paths), anyMember()).map(([path, value]) => {
      return Buffer.from(JSON.stringify(replaceAt(document, path, value))).toString('base64');
    }),
  );
}

function anyMember(): fc.Arbitrary<unknown> {
  return fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom('0x', '-1', '1e9', '0x0', '9'.repeat(79), '', null, [], {}, 2 ** 53, '__proto__'),
    fc.string({ maxLength: 100 }),
    fc.bigInt().map(String),
    fc.nat({ max: 70 }).map((bytes) => `0x${'f'.repeat(bytes)}`),
  );
}

function pathsOf(value: unknown, prefix: string[] = []): string[][] {
  if (typeof value !== 'object' || value === null) return [prefix];
  return [prefix, ...Object.entries(value).flatMap(([key, member]) => pathsOf(member, [...prefix, key]))];
}

function replaceAt(value: unknown, [key, ...rest]: string[], replacement: unknown): unknown {
  if (key === undefined) return replacement;
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).map(([name, member]) => [
    name,
    name === key ? replaceAt(member, rest, replacement) : member,
  ]);
  return Object.fromEntries(members);
}
