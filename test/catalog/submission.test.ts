import { describe, expect, it } from 'vitest';
import { createBody, parse, refusalOf, times } from './fixtures.ts';

/** What a refusal names, a value it refuses, and the words that tell the publisher what to send instead. */
const REFUSED: [field: string, changes: Record<string, unknown>, fix: RegExp][] = [
  ['name', { name: undefined }, /is required/],
  ['name', { name: 7 }, /a JSON string/],
  ['name', { name: 'acme' }, /"<publisher>\/<tool>"/],
  ['name', { name: 'acme/a/b' }, /exactly one slash/],
  ['name', { name: 'Acme/tool' }, /lower case/],
  ['name', { name: 'acme_labs/tool' }, /publisher of a-z 0-9 \. -/],
  ['name', { name: 'acme/tool-' }, /tool of a-z 0-9 \. _ -/],
  ['name', { name: `acme/${'x'.repeat(65)}` }, /at most 64 characters/],
  ['name', { name: 'millicent.io/tool' }, /reserved.*choose your own/],
  ['version', { version: undefined }, /such as "1\.0\.0"|is required/],
  ['version', { version: '^1.0.0' }, /one exact version.*"1\.0\.0"/],
  ['description', { description: ' ' }, /must say what the server does/],
  ['description', { description: 'x'.repeat(501) }, /at most 500 characters/],
  ['description', { description: 'safe \u202eelif' }, /control or invisible characters/],
  ['category', { category: 'data' }, /a JSON array/],
  ['category.0', { category: ['Text Analysis'] }, /slug such as/],
  ['category.0', { category: ['x'.repeat(33)] }, /at most 32 characters/],
  ['category', { category: ['a', 'b', 'a'] }, /twice/],
  ['category', { category: times(6, (index) => `c${index}`) }, /at most 5/],
  ['language', { language: 'ruby' }, /"python", "node" or "go"/],
  ['tier', { tier: 'gold' }, /"hobbyist" or "pro"/],
  ['entrypoint', { entrypoint: 'main.py' }, /one of the paths in "files"/],
  ['entrypoint', { entrypoint: 'x'.repeat(101) }, /at most 100 characters/],
  ['entrypoint', { entrypoint: 'run.sh', files: { 'run.sh': 'x' } }, /ends in "\.py"/],
  ['license', { license: '<b>MIT</b>' }, /SPDX license expression such as "MIT"/],
  ['repo_url', { repo_url: 'http://example.com' }, /https:\/\//],
  ['repo_url', { repo_url: 'https://user@example.com' }, /without a user name/],
  ['changelog', { changelog: 'x'.repeat(4_001) }, /at most 4000 characters/],
  ['pricing', { pricing: undefined }, /is required/],
  ['pricing.model', { pricing: { model: 'barter' } }, /"free" or "per_call"/],
  ['pricing.model', { pricing: { model: 'subscription' } }, /not offered yet; use/],
  ['pricing.model', { pricing: { model: 'free', amount_mcents: 1 } }, /use "per_call" to charge/],
  ['pricing.model', { pricing: { model: 'free', tools: { run: 1 } } }, /use "per_call" to charge/],
  ['pricing.amount_mcents', { pricing: { model: 'per_call' } }, /is required/],
  ['pricing.amount_mcents', { pricing: perCall('250') }, /whole number, without quotes/],
  ['pricing.amount_mcents', { pricing: perCall(0.5) }, /whole number, without quotes/],
  ['pricing.amount_mcents', { pricing: perCall(-1) }, /at least 0/],
  ['pricing.amount_mcents', { pricing: perCall(10_000_001) }, /at most 10000000/],
  ['pricing.tools.run', { pricing: perCall(1, { run: '5' }) }, /whole number, without quotes/],
  ['pricing.tools.run', { pricing: perCall(1, { run: 10_000_001 }) }, /at most 10000000/],
  ['pricing.tools.no tool', { pricing: perCall(1, { 'no tool': 5 }) }, /is no tool name/],
  ['pricing.tools', { pricing: perCall(1, manyTools(129)) }, /at most 128/],
  ['pricing.tools', { pricing: perCall(1, JSON.parse('{"__proto__":1}')) }, /"__proto__"/],
  ['pricing', { pricing: { ...perCall(1), currency: 'EUR' } }, /unknown member "currency"; remove it/],
  ['files', { files: undefined }, /is required/],
  ['files', { files: [] }, /a JSON object/],
  ['files', { files: JSON.parse('{"server.py":"","__proto__":"x"}') }, /rename the file/],
  ['files.server.py', { files: { 'server.py': 1 } }, /text, or \{"base64"/],
  ['files.server.py', { files: { 'server.py': { base64: 1 } } }, /text, or \{"base64"/],
  ['', { publisher: 'acme' }, /unknown member "publisher"; remove it/],
];

function perCall(amount_mcents: unknown, tools?: unknown) {
  return { model: 'per_call', amount_mcents, ...(tools === undefined ? {} : { tools }) };
}

function manyTools(count: number): Record<string, number> {
  return Object.fromEntries(times(count, (index) => [`t${index}`, 1]));
}

describe('a submission', () => {
  it.each(REFUSED)('is refused by "%s" when it says %j', async (field, changes, fix) => {
    const { type, message, options } = await refusalOf(() => parse(createBody(changes)));
    expect([type, options.members?.field]).toEqual(['invalid-arguments', field]);
    expect(message.startsWith(field === '' ? 'The body: ' : `${field}: `)).toBe(true);
    expect(message).toMatch(fix);
    expect(message).toMatch(/\.$/);
  });

  it.each([[null], [[]], ['text'], [1], [undefined]])('is an object, not %j', async (body) => {
    const { message } = await refusalOf(() => parse(body));
    expect(message).toMatch(/^The body: (?:must be a JSON object|is required)\.$/);
  });

  it('with several faults is told all of them, but no more than ten', async () => {
    const two = createBody({ version: '1', license: '<b>' });
    expect((await refusalOf(() => parse(two))).options.members?.errors).toEqual([
      { field: 'version', detail: expect.stringContaining('exact version') },
      { field: 'license', detail: expect.stringContaining('SPDX') },
    ]);
    const many = Object.fromEntries(times(1_000, (index) => [`x${index}`, index]));
    const { options } = await refusalOf(() => parse(createBody({ files: many })));
    expect(options.members?.errors).toHaveLength(10);
  });

  it('full of long names is refused in few words', async () => {
    const long = 'x'.repeat(100_000);
    for (const changes of [{ [long]: 1 }, { files: { [long]: 1 } }, { pricing: perCall(1, { [long]: 1 }) }]) {
      const { message } = await refusalOf(() => parse(createBody(changes)));
      expect(message.length).toBeLessThan(2_000);
    }
  });

  it('that leaves out what it may has the defaults, and nothing else is made up', () => {
    const { category: _, ...body } = createBody({ name: 'acme/tool' });
    expect(parse(body)).toEqual({
      ...{ name: 'acme/tool', version: '1.0.0', description: 'Counts the words of a text', category: [] },
      ...{ language: 'python', tier: 'hobbyist', entrypoint: 'server.py' },
      ...{ license: null, repoUrl: null, changelog: null, limits: {}, hosts: [] },
      pricing: {
        model: 'per_call',
        amount: 250n,
        tools: new Map(),
        free: { each: undefined, tools: new Map() },
        settle: 'after-run',
      },
      files: new Map([['server.py', Buffer.from('print("hello")\n')]]),
    });
  });

  it('may be at every bound at once', () => {
    const entrypoint = `${'x'.repeat(97)}.py`;
    const body = createBody({
      ...{ name: `${'a'.repeat(64)}/${'b'.repeat(64)}`, version: `1.0.0-${'a'.repeat(58)}`, entrypoint },
      ...{ description: 'x'.repeat(500), changelog: 'a\n\tb'.repeat(1_000), license: 'x'.repeat(64) },
      ...{ category: times(5, (index) => `${index}`.repeat(32)), files: { [entrypoint]: '' } },
      ...{ repo_url: `https://example.com/${'x'.repeat(280)}`, tier: 'hobbyist' },
      pricing: perCall(10_000_000, manyTools(128)),
    });
    expect(parse(body).pricing.tools.size).toBe(128);
  });

  it('may be written in any script, with the joiners that scripts and emoji need', () => {
    for (const description of ['数える', 'می\u200cخواهم', '👩\u200d💻 works', 'a\r\nb', 'e\u0301']) {
      expect(parse(createBody({ description })).description).toBe(description);
    }
  });

  it('for nothing may price its tools at nothing', () => {
    const pricing = { model: 'free', amount_mcents: 0, tools: { run: 0 } };
    expect(parse(createBody({ pricing })).pricing).toEqual({
      ...{
        model: 'free',
        amount: 0n,
        tools: new Map([['run', 0n]]),
        free: { each: undefined, tools: new Map() },
        settle: 'after-run',
      },
    });
  });
});
