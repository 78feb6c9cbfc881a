import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { createNoteSigner } from '../../src/provenance/log/vkey.ts';
import { publishEcho } from '../e2e/fixtures.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { newEd25519Pem } from '../harness/memory-log.ts';
import { type Millicent, millicent, startMillicent } from '../harness/millicent.ts';
import { waitUntil } from '../harness/process.ts';

const ORIGIN = 'gateway.example';
const LOG_KEY = newEd25519Pem();

let folder: string;
let database: TestDatabase;
let witness: Millicent & { vkey: string };
let gateway: TestGateway;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millicent-witnessed-'));
  database = await createTestDatabase();
  const logs = [ORIGIN, `${ORIGIN}/receipts`].map(
    (name) => createNoteSigner({ name, privateKeyPem: LOG_KEY }).vkey,
  );
  const started = startMillicent([
    ...['witness', '--listen', '127.0.0.1:0', '--name', 'witness.example', '--key', join(folder, 'key')],
    ...['--state', join(folder, 'witness'), ...logs.flatMap((vkey) => ['--log', vkey])],
  ]);
  const [vkey = '', url = ''] = await started.lines(2);
  witness = { ...started, vkey };
  gateway = await startTestGateway({
    database,
    env: { LOG_KEY, LOG_ORIGIN: ORIGIN, WITNESSES: `${url} ${vkey}` },
  });
});
afterAll(async () => {
  await gateway?.close();
  witness?.child.kill('SIGTERM');
  await witness?.ended;
  await database?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The size of the newest checkpoint, once it holds this leaf and is cosigned. */
function cosignedSize(leafIndex: number): Promise<number> {
  return waitUntil(async () => {
    const response = await gateway.fetch('/log/checkpoint');
    const note = response.ok ? await response.text() : '';
    const size = Number(note.split('\n')[1]);
    return size > leafIndex && note.includes('\u2014 witness.example ') ? size : undefined;
  });
}

async function publish(): Promise<number> {
  const { body } = await publishEcho(gateway);
  return z.object({ log_index: z.number() }).parse(body).log_index;
}

test("a gateway's checkpoints are cosigned, and a monitor that asks for that follows its log", async () => {
  const size = await cosignedSize(await publish());
  const look = (log: string) =>
    millicent(
      ...['monitor', gateway.url, '--log', log, '--state', join(folder, `${log}.json`), '--once'],
      ...['--witness-key', witness.vkey],
    );
  const text = `${size} entries, ${size} of them new`;
  expect(await look('versions')).toMatchObject({ code: 0, out: expect.stringContaining(text) });
  await cosignedSize(await publish());
  expect(await look('versions')).toMatchObject({
    ...{ code: 0, err: '' },
    out: expect.stringContaining(`${size + 1} entries, 1 of them new`),
  });
  const state = readFileSync(join(folder, 'versions.json'), 'utf8');
  expect(JSON.parse(state).checkpoint).toContain('\u2014 witness.example ');
  expect(await look('receipts')).toMatchObject({
    code: 0,
    out: expect.stringContaining('Everything holds: 0 entries'),
  });
});
