import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { STORED_BYTES_MAX, VERSIONS_PER_DAY_MAX } from '../../src/catalog/allotment.ts';
import { parseSubmission, toListingJson } from '../../src/catalog/index.ts';
import { hashMetadata } from '../../src/catalog/metadata-hash.ts';
import { readArchive } from '../../src/core/archive.ts';
import { newUuid } from '../../src/core/ids.ts';
import { LIMIT_CEILINGS, LIMIT_FLOORS } from '../../src/core/limits.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { createBody, createMarket, createSubmission, newName, parse, refusalOf, times } from './fixtures.ts';
import { makeElf } from './program-bytes.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

const MIB = 1024 * 1024;
const limits = (member: string, value: unknown) => ({ limits: { [member]: value } });
const hosts = (...named: unknown[]) => ({ network: { hosts: named } });

/** A publish JSON of a publisher's own server. */
function createRemoteBody(changes: Record<string, unknown> = {}): Record<string, unknown> {
  const { files: _, entrypoint: __, language: ___, ...body } = createBody();
  return { ...body, tier: 'pro', endpoint_url: 'https://mcp.example.com/mcp', ...changes };
}

const REFUSED: [field: string, changes: Record<string, unknown>, fix: RegExp][] = [
  ['limits', { limits: [] }, /a JSON object/],
  ['limits', limits('cpu', 1), /unknown member "cpu"; remove it/],
  ['limits.timeout_ms', limits('timeout_ms', 99), /at least 100/],
  ['limits.timeout_ms', limits('timeout_ms', 60_001), /at most 60000/],
  ['limits.timeout_ms', limits('timeout_ms', '500'), /whole number, without quotes/],
  ['limits.timeout_ms', limits('timeout_ms', 500.5), /whole number, without quotes/],
  ['limits.memory_mb', limits('memory_mb', 63), /at least 64/],
  ['limits.memory_mb', limits('memory_mb', 1_025), /at most 1024/],
  ['limits.output_kb', limits('output_kb', 3), /at least 4/],
  ['limits.output_kb', limits('output_kb', 8_193), /at most 8192/],
  ['limits.tmp_mb', limits('tmp_mb', 0), /at least 1/],
  ['limits.tmp_mb', limits('tmp_mb', 257), /at most 256/],
  ['limits.processes', limits('processes', 7), /at least 8/],
  ['limits.processes', limits('processes', 65), /at most 64/],
  ['network', { network: ['api.example.com'] }, /a JSON object/],
  ['network', { network: { hosts: ['a.example'], proxy: 1 } }, /unknown member "proxy"/],
  ['network.hosts', { network: {} }, /is required/],
  ['network.hosts', hosts(), /at least one host; leave "network" out/],
  ['network.hosts', hosts(...times(17, (index) => `h${index}.example.com`)), /at most 16 hosts/],
  ['network.hosts', hosts('a.example.com', 'a.example.com'), /not name a host twice/],
  ['network.hosts.0', hosts(7), /a JSON string/],
  ...(
    [
      ['*.example.com', /wildcard/],
      ['API.example.com', /not in lower case/],
      ['grüße.example.com', /not ASCII; write it in its "xn--" form/],
      ['127.0.0.1', /is an address; name the host/],
      ['169.254.169.254', /is an address/],
      ['2130706433', /is an address/],
      ['0x7f.1', /is an address/],
      ['api.0x7f000001', /is an address/],
      ['[::1]', /no host such as/],
      ['::1', /no host such as/],
      ['localhost', /is not a public host name/],
      ['db', /is not a public host name/],
      ['db.internal', /is not a public host name/],
      ['printer.local', /is not a public host name/],
      ['api.example.com.', /is no host name/],
      ['-api.example.com', /is no host name/],
      ['api..example.com', /is no host name/],
      ['a_b.example.com', /is no host name/],
      [`${'x'.repeat(64)}.example.com`, /is no host name/],
      [`${'abcdefgh.'.repeat(28)}example.com`, /is no host name/],
      ['https://api.example.com', /no host such as/],
      ['api.example.com/path', /is no host name/],
      ['user@api.example.com', /is no host name/],
      ['api.example.com:0', /no host such as/],
      ['api.example.com:65536', /no host such as/],
      ['api.example.com:0443', /no host such as/],
      ['api.example.com:https', /no host such as/],
      ['api.example.com:', /no host such as/],
      ['', /is no host name/],
      ['api.example.com\n', /is not ASCII|no host name/],
    ] as const
  ).map(([host, fix]): [string, Record<string, unknown>, RegExp] => ['network.hosts.0', hosts(host), fix]),
  ['endpoint_url', { endpoint_url: 'https://mcp.example.com' }, /belongs to the tier "pro"/],
  ['entrypoint', { language: 'node' }, /JavaScript file that ends in ".js", ".mjs", ".cjs"/],
  ['entrypoint', { language: 'node', entrypoint: 'a.ts', files: { 'a.ts': '' } }, /ends in ".js"/],
];

const REFUSED_REMOTE: [field: string, changes: Record<string, unknown>, fix: RegExp][] = [
  ['endpoint_url', { endpoint_url: undefined }, /is required/],
  ['files', { files: { 'server.py': '' } }, /belongs to code that runs here/],
  ['entrypoint', { entrypoint: 'server.py' }, /belongs to code that runs here/],
  ['network', hosts('api.example.com'), /belongs to code that runs here/],
  ['limits.memory_mb', limits('memory_mb', 128), /bounds code that runs here/],
  ['limits.tmp_mb', limits('tmp_mb', 1), /bounds code that runs here/],
  ['limits.processes', limits('processes', 8), /bounds code that runs here/],
  ['limits.timeout_ms', limits('timeout_ms', 60_001), /at most 60000/],
  ['language', { language: 'ruby' }, /"python", "node" or "go"/],
  ...(
    [
      ['http://mcp.example.com/', /must be an https:\/\/ URL/],
      ['ftp://mcp.example.com/', /must be an https:\/\/ URL/],
      ['mcp.example.com', /must be an https:\/\/ URL/],
      ['https://user@mcp.example.com/', /user name or password/],
      ['https://:secret@mcp.example.com/', /user name or password/],
      ['https://mcp.example.com/#part', /fragment/],
      ['https://mcp.example.com/#', /fragment/],
      ['https://127.0.0.1/', /public host/],
      ['http://127.0.0.1:8080/', /https/],
      ['http://localhost:8080/', /https/],
      ['https://localhost/', /public host/],
      ['https://10.0.0.1/', /public host/],
      ['https://0x7f000001/', /public host/],
      ['https://2130706433/', /public host/],
      ['https://[::1]/', /public host/],
      ['https://[fd00::1]/', /public host/],
      ['https://169.254.169.254/latest/meta-data', /public host/],
      ['https://metadata.google.internal/', /public host/],
      ['https://db/', /public host/],
      ['https://mcp.example.com', /one way that it is compared by: "https:\/\/mcp.example.com\/"/],
      ['https://MCP.example.com/', /one way that it is compared by/],
      ['https://mcp.example.com:443/', /one way that it is compared by/],
      ['https://mcp.example.com/a/../b', /one way that it is compared by/],
      ['https://mcp.example.com/a b', /must be an https:\/\/ URL/],
      [`https://mcp.example.com/${'x'.repeat(2_000)}`, /at most 2000 characters/],
    ] as const
  ).map(([endpoint_url, fix]): [string, Record<string, unknown>, RegExp] => [
    ...(['endpoint_url', { endpoint_url }, fix] as const),
  ]),
];

describe('a submission', () => {
  it.each(REFUSED)('is refused by "%s" when it says %j', async (name, changes, fix) => {
    const { type, message, options } = await refusalOf(() => parse(createBody(changes)));
    expect([type, options.members?.field]).toEqual(['invalid-arguments', name]);
    expect(message).toMatch(fix);
  });

  it.each(REFUSED_REMOTE)(
    'of a self-hosted server is refused by "%s" when it says %j',
    async (name, changes, fix) => {
      const { type, message, options } = await refusalOf(() => parse(createRemoteBody(changes)));
      expect([type, options.members?.field]).toEqual(['invalid-arguments', name]);
      expect(message).toMatch(fix);
    },
  );

  it('may be at every limit, and its hosts may have ports and be international', () => {
    const named = ['api.example.com', 'api.example.com:8443', 'xn--bcher-kva.example', 'a.example:65535'];
    const [least, most] = [LIMIT_FLOORS, LIMIT_CEILINGS].map((bound) => ({
      timeout_ms: bound.runTimeoutMs,
      memory_mb: bound.memoryBytesMax / MIB,
      output_kb: bound.outputBytesMax / 1024,
      tmp_mb: bound.tmpBytesMax / MIB,
      processes: bound.pidsMax,
    }));
    expect(parse(createBody({ limits: least }))).toMatchObject({ limits: LIMIT_FLOORS });
    expect(parse(createBody({ limits: most, ...hosts(...named) }))).toMatchObject({
      ...{ limits: LIMIT_CEILINGS, hosts: named },
    });
    expect(parse(createBody({ limits: { memory_mb: 128 } })).limits).toEqual({ memoryBytesMax: 128 * MIB });
  });

  it('may be of Node in each of its spellings, and of Go with a program larger than any script', () => {
    for (const entrypoint of ['server.js', 'server.mjs', 'dist/server.cjs']) {
      const body = createBody({ language: 'node', entrypoint, files: { [entrypoint]: '' } });
      expect(parse(body)).toMatchObject({ language: 'node', entrypoint });
    }
    const program = Buffer.concat([makeElf(), Buffer.alloc(3 * MIB)]).toString('base64');
    const go = createBody({
      language: 'go',
      entrypoint: 'bin/server',
      files: { 'bin/server': { base64: program } },
    });
    expect(parse(go)).toMatchObject({ language: 'go', entrypoint: 'bin/server' });
  });

  it('of a self-hosted server has one file for its code, which names the endpoint', () => {
    const submission = parse(createRemoteBody({ limits: { timeout_ms: 30_000 } }));
    expect(submission).toMatchObject({
      ...{ tier: 'pro', language: null, endpointUrl: 'https://mcp.example.com/mcp' },
      limits: { runTimeoutMs: 30_000 },
    });
    expect([...submission.files]).toEqual([
      ['millicent-endpoint.json', Buffer.from('{"endpoint_url":"https://mcp.example.com/mcp"}')],
    ]);
  });

  it('may name an endpoint on this machine only where the gateway allows that', () => {
    for (const endpoint_url of ['http://127.0.0.1:8080/mcp', 'http://localhost:1/', 'https://[::1]:8443/']) {
      const body = createRemoteBody({ endpoint_url });
      expect(parseSubmission(body, { allowsLoopback: true, processor: 'x64' })).toMatchObject({
        endpointUrl: endpoint_url,
      });
    }
    for (const endpoint_url of ['http://10.0.0.1/', 'http://192.168.0.1:8080/', 'http://example.com/']) {
      const body = createRemoteBody({ endpoint_url });
      expect(() => parseSubmission(body, { allowsLoopback: true, processor: 'x64' })).toThrow(/endpoint_url/);
    }
  });
});

describe('the hash of what a publisher says', () => {
  const body = createBody({
    ...{ name: 'acme/text-stats', license: 'MIT', repo_url: 'https://example.com/x', changelog: 'first' },
    pricing: { model: 'per_call', amount_mcents: 250, tools: { run: 5 } },
  });

  it('of a version from before limits and hosts is what it was', () => {
    expect(hashMetadata(parse(body))).toBe(
      '45c00685586a52afcc39956986b577d957b98df892ff077c813d9c20f45f066a',
    );
    expect(hashMetadata(parse({ ...body, limits: {} }))).toBe(hashMetadata(parse(body)));
  });

  it('covers each limit, each host and the endpoint', () => {
    const hashes = [
      ...[{}, limits('timeout_ms', 1_000), limits('timeout_ms', 1_001), limits('processes', 16)],
      ...[hosts('a.example'), hosts('b.example'), hosts('a.example', 'b.example')],
    ].map((changes) => hashMetadata(parse({ ...body, ...changes })));
    const remote = ['https://a.example/', 'https://b.example/'].map((endpoint_url) =>
      hashMetadata(parse(createRemoteBody({ name: 'acme/text-stats', endpoint_url }))),
    );
    expect(new Set([...hashes, ...remote]).size).toBe(9);
  });
});

describe('a version', () => {
  it('keeps what it runs on and what it may do, and the same again is the same publication', async () => {
    const market = createMarket(database.sql);
    const declared = { limits: { memory_mb: 128, timeout_ms: 1_000 }, ...hosts('api.example.com:8443') };
    const publisherId = newUuid();
    const submission = createSubmission(declared);
    const layer = { sha256: 'ab'.repeat(32), bytes: 1_000 };
    const published = await market.publish({ publisherId, submission, layer });
    const listing = await market.catalog.findListing(submission.name);
    if (!listing) throw new Error('nothing is listed');
    expect(listing.version).toMatchObject({
      ...{ runtime: 'python', layerSha256: layer.sha256, endpointUrl: null, hosts: ['api.example.com:8443'] },
      limits: { memoryBytesMax: 128 * MIB, runTimeoutMs: 1_000 },
    });
    expect((await market.catalog.loadCode(listing.version)).layer?.sha256).toBe(layer.sha256);
    expect(toListingJson(listing, { isLogged: true })).toMatchObject({
      ...{ layer_hash: `sha256:${layer.sha256}`, network: { hosts: ['api.example.com:8443'] } },
      limits: { timeout_ms: 1_000, memory_mb: 128, output_kb: 1_024, tmp_mb: 64, processes: 32 },
      runtime: { language: 'python', root_hash: null },
    });
    const again = await market.publish({ publisherId, submission, serverId: published.serverId });
    expect(again).toMatchObject({ isNewVersion: false, versionId: published.versionId });
    const other = createSubmission({ name: submission.name, ...hosts('api.example.com') });
    const refused = await refusalOf(() =>
      market.publish({ publisherId, submission: other, serverId: published.serverId }),
    );
    expect(refused.message).toMatch(/published with other metadata/);
  });

  it('of a self-hosted server is logged under the hash of its endpoint, and never shows it or runs here', async () => {
    const market = createMarket(database.sql);
    const submission = parse(createRemoteBody({ name: newName(), language: 'go' }));
    const published = await market.publish({ publisherId: newUuid(), submission });
    const listing = await market.catalog.findListing(submission.name);
    if (!listing) throw new Error('nothing is listed');
    expect(listing.version).toMatchObject({
      ...{ runtime: null, entrypoint: 'millicent-endpoint.json', endpointUrl: 'https://mcp.example.com/mcp' },
      codeSha256: published.codeSha256,
    });
    const [row] = await database.sql<{ archive: Buffer }[]>`
      SELECT archive FROM catalog_code WHERE sha256 = ${published.codeSha256}`;
    expect(
      readArchive(row?.archive ?? Buffer.alloc(0))
        .get('millicent-endpoint.json')
        ?.toString(),
    ).toBe('{"endpoint_url":"https://mcp.example.com/mcp"}');
    const shown = JSON.stringify(toListingJson(listing, { isLogged: true }));
    expect(shown).not.toContain('mcp.example.com');
    expect(JSON.parse(shown)).toMatchObject({
      ...{ tier: 'pro', runtime: { language: 'go', root_hash: null } },
      limits: { timeout_ms: 5_000, output_kb: 1_024 },
    });
    await expect(market.catalog.loadCode(listing.version)).rejects.toThrow(/does not run here/);
  });

  it('never changes the tier of its server, which decides what a call earns', async () => {
    const market = createMarket(database.sql);
    const hosted = await market.list();
    const remote = parse(createRemoteBody({ name: hosted.name, version: '2.0.0' }));
    const refused = await refusalOf(() => market.publish({ ...hosted, submission: remote }));
    expect(refused).toMatchObject({ type: 'conflict' });
    expect(refused.message).toMatch(/^tier: this server is "hobbyist"/);
    const planned = await refusalOf(() => market.catalog.plan({ ...hosted, submission: remote }));
    expect(planned.message).toBe(refused.message);
  });
});

describe('a publisher', () => {
  it('publishes two hundred versions within a day and no more, also at once, and goes on a day later', async () => {
    const market = createMarket(database.sql);
    const first = await market.list();
    const next = (patch: number) => createSubmission({ name: first.name, version: `1.0.${patch}` });
    for (let patch = 1; patch < VERSIONS_PER_DAY_MAX - 1; patch += 1) {
      await market.publish({ ...first, submission: next(patch) });
    }
    market.wait(60_000);
    const racers = await Promise.allSettled(
      times(4, () => market.publish({ publisherId: first.publisherId, submission: createSubmission() })),
    );
    const refusals = racers.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []));
    expect(refusals).toHaveLength(3);
    for (const refusal of refusals) {
      expect(refusal).toMatchObject({ type: 'too-many-requests', options: { retryAfterSeconds: 86_340 } });
    }
    const planned = await refusalOf(() =>
      market.catalog.plan({ publisherId: first.publisherId, submission: createSubmission() }),
    );
    expect(planned.message).toMatch(/200 versions within a day/);
    // What is there already is no new version, and somebody else has a day of their own.
    const same = await market.catalog.plan({ ...first, submission: next(5) });
    expect(same.kind).toBe('unchanged');
    expect(await market.list()).toMatchObject({ isNewVersion: true });
    market.wait(86_340_000);
    expect(await market.publish({ ...first, submission: next(999) })).toMatchObject({ isNewVersion: true });
  });

  it('stores two gibibytes and no more, each code and layer counted once', async () => {
    const market = createMarket(database.sql);
    const first = await market.list();
    const stored = async () => {
      const [row] = await database.sql<{ storedBytes: bigint }[]>`
        SELECT stored_bytes FROM catalog_publisher WHERE id = ${first.publisherId}`;
      return Number(row?.storedBytes);
    };
    expect(await stored()).toBe(10_240);
    const layer = { sha256: 'cd'.repeat(32), bytes: 5_000 };
    const next = (patch: number, text = 'x') =>
      createSubmission({ name: first.name, version: `1.0.${patch}`, files: { 'server.py': text } });
    await market.publish({ ...first, submission: next(1), layer });
    expect(await stored()).toBe(2 * 10_240 + 5_000);
    await market.publish({ ...first, submission: next(2), layer });
    expect(await stored()).toBe(2 * 10_240 + 5_000);
    await database.sql`UPDATE catalog_publisher SET stored_bytes = ${STORED_BYTES_MAX - 10_000}
      WHERE id = ${first.publisherId}`;
    const refused = await refusalOf(() => market.publish({ ...first, submission: next(3, 'new') }));
    expect(refused).toMatchObject({ type: 'body-too-large' });
    expect(refused.message).toMatch(/may have 2147483648 bytes together/);
    expect(await market.publish({ ...first, submission: next(3) })).toMatchObject({ isNewVersion: true });
    expect(await stored()).toBe(STORED_BYTES_MAX - 10_000);
  });
});
