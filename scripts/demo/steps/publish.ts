import { z } from 'zod';
import { formatDollars } from '../../../src/core/money.ts';
import type { Account } from '../chain.ts';
import { issuedKeySchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import { createPayingClient } from '../paying-client.ts';
import { loadSampleServers, priceOf, type SampleServer } from '../sample-servers.ts';
import type { Listed, Stage } from '../stage.ts';

export const publishedSchema = z.looseObject({
  id: z.uuid(),
  name: z.string(),
  code_hash: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  tools: z.array(z.string()).min(1),
  log_index: z.int().nonnegative(),
  runtime: z.looseObject({ root_hash: z.string().nullable() }).optional(),
});

/** A publisher signs up by paying: no form, no human. Answers with the key. */
export async function signUpPublisher(stage: Stage, wallet: Account): Promise<string> {
  const { narrator, info, chain } = stage;
  narrator.step('A publisher signs up by paying');
  const before = await chain.balanceOf(wallet.address);
  const { fetch } = createPayingClient(wallet);
  const request = { fetch, body: { role: 'publisher' } };
  const issued = read(await send(`${info.url}/v1/signup`, request), 200, issuedKeySchema);
  const paid = before - (await chain.balanceOf(wallet.address));
  narrator.fact('POST /v1/signup', `402, paid ${formatDollars(paid)} in test USDC by @x402/fetch, 200`);
  narrator.fact('key', `${issued.key.slice(0, 12)}... (shown once), scopes ${issued.scopes.join(', ')}`);
  must(issued.scopes.includes('publish'), 'the key may publish');
  mustEqual(paid, 10_000n, 'The price of signing up, in millicents');
  mustEqual(issued.balance_mcents, 10_000, 'The balance of the new key');
  return issued.key;
}

/** Uploads the sample servers. What is listed is what their code says when it is run once. */
export async function publishServers(stage: Stage, key: string): Promise<Listed[]> {
  const { narrator } = stage;
  narrator.step('The publisher uploads four servers; each is run once in the sandbox');
  const samples = loadSampleServers();
  const progress = narrator.progress('published', samples.length);
  const listed: Listed[] = [];
  for (const sample of samples) {
    listed.push(await publishServer(stage, key, sample));
    progress.advance();
  }
  progress.done();
  narrator.table(
    ['server', 'log', 'code', 'tool, found by running the code', 'price'],
    listed.flatMap(({ manifest, logIndex, codeHash, tools }) =>
      tools.map((tool, index) => [
        ...(index === 0 ? [manifest.name, `#${logIndex}`, `${codeHash.slice(0, 17)}...`] : ['', '', '']),
        tool,
        priceOf(manifest, tool) === 0 ? 'free' : formatDollars(BigInt(priceOf(manifest, tool))),
      ]),
    ),
  );
  return listed;
}

/** Uploads one server; the answer is how the gateway lists it. */
export async function publishServer({ info }: Stage, key: string, sample: SampleServer): Promise<Listed> {
  const body = { ...sample.manifest, files: sample.files };
  const published = read(await send(`${info.url}/mcp`, { key, body }), 201, publishedSchema);
  mustEqual(published.name, sample.manifest.name, 'The name of what was published');
  return {
    ...sample,
    id: published.id,
    codeHash: published.code_hash,
    logIndex: published.log_index,
    tools: published.tools,
  };
}
