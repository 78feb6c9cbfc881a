import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { read, send } from '../http.ts';
import { runMillicent } from '../millicent.ts';
import { must, mustEqual } from '../must.ts';
import type { Narrator } from '../narrator.ts';
import { type Listed, type Stage, toBody } from '../stage.ts';
import type { PaidCall } from './pay-per-call.ts';

/** What an auditor takes along: files, and the two things that have to come from somewhere else. */
export type Proofs = {
  folder: string;
  bundle: string;
  receipt: string;
  jwks: string;
  code: string;
  vkeys: string[];
  contracts: string[];
  remove(): void;
};

const ANCHOR_WAIT_MAX_MS = 120_000;
const POLL_MS = 500;

const bundleSchema = z.looseObject({ anchor: z.looseObject({ treeSize: z.int() }).nullable() });
const receiptSchema = z.looseObject({ log: z.looseObject({ index: z.int() }).optional() });
const anchorsSchema = z.looseObject({
  anchors: z.array(
    z.looseObject({
      ...{ log: z.string(), state: z.string(), tree_size: z.int() },
      ...{ contract: z.string(), block_number: z.int().nullable() },
    }),
  ),
});

/** A publisher proves from receipts and log that every sale was written down; an auditor replays the whole log. */
export async function auditLogs({ narrator, info }: Stage, publisherKey: string): Promise<void> {
  narrator.step(
    'The publisher audits the sales, and anyone the log: millicent audit-sales, millicent log fsck',
  );
  const audit = await narrator.waiting(
    'auditing',
    untilReady(async () => {
      const one = await runMillicent(
        ['audit-sales', '--url', info.url, '--vkey', info.log.receiptsVkey],
        publisherKey,
      );
      // The last sales enter the log, and come under a checkpoint, within seconds.
      return one.output.includes(' pending:') ? undefined : one;
    }),
  );
  showOutput(narrator, audit.output);
  mustEqual(audit.code, 0, 'The exit code of millicent audit-sales');
  const replay = await narrator.waiting(
    'replaying',
    runMillicent(['log', 'fsck', '--url', info.url, '--vkey', info.log.vkey]),
  );
  showOutput(narrator, replay.output);
  mustEqual(replay.code, 0, 'The exit code of millicent log fsck');
  narrator.checked('no sale is missing, and the log holds what was signed');
}

/** Whoever paid for deterministic code can run the very same code again, and gets the very same result. */
export async function reproduceCall({ narrator, info }: Stage, paid: PaidCall): Promise<void> {
  narrator.step('The buyer runs the paid call again, elsewhere: millicent reproduce');
  const folder = mkdtempSync(join(tmpdir(), 'millicent-demo-input-'));
  try {
    const input = join(folder, 'input.json');
    writeFileSync(input, JSON.stringify(toBody(paid.call)));
    const args = ['reproduce', paid.answer.receipt_id ?? '', '--input', input, '--url', info.url];
    const { code, output } = await narrator.waiting('running it again', runMillicent(args));
    showOutput(narrator, output);
    mustEqual(code, 0, 'The exit code of millicent reproduce');
    narrator.checked('the logged code gives the result that was sold, to the byte');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Waits until a version is under a final anchor, and saves what proves it and a receipt. */
export async function saveProofs(stage: Stage, input: { paid: PaidCall; listed: Listed[] }): Promise<Proofs> {
  const { narrator, info } = stage;
  const { call, answer } = input.paid;
  const listed = input.listed.find(({ manifest }) => manifest.name === call.server);
  must(listed, `${call.server} is listed`);
  narrator.step('The log is anchored on-chain; an auditor saves a proof of a version and of a receipt');
  const { origin, vkey } = info.log;
  narrator.fact('log', `${origin}, signed checkpoints at ${info.url}/log/checkpoint`);
  const version = encodeURIComponent(listed.manifest.version);
  const bundleUrl = `${info.url}/mcp/${listed.id}/versions/${version}/bundle`;
  const bundle = await narrator.waiting(
    'waiting until the chain is final',
    untilReady(async () => {
      const one = read(await send(bundleUrl), 200, bundleSchema);
      return one.anchor ? one : undefined;
    }),
  );
  const receipt = await untilReady(async () => {
    const one = read(await send(`${info.url}/receipts/${answer.receipt_id}`), 200, receiptSchema);
    return one.log ? one : undefined;
  });
  const { anchors } = read(await send(`${info.url}/anchors?log=versions`), 200, anchorsSchema);
  const anchor = anchors.find(({ state }) => state === 'final');
  must(anchor, 'an anchor is final');
  narrator.fact('anchored', `${anchor.tree_size} entries, block ${anchor.block_number}, ${anchor.contract}`);
  narrator.fact('receipt', `entry ${receipt.log?.index} of ${origin}/receipts`);
  const folder = mkdtempSync(join(tmpdir(), 'millicent-demo-proofs-'));
  const save = (name: string, value: unknown) => {
    writeFileSync(join(folder, name), JSON.stringify(value));
    return join(folder, name);
  };
  const jwks = read(await send(`${info.url}/.well-known/jwks.json`), 200, z.looseObject({}));
  return {
    folder,
    bundle: save('bundle.json', bundle),
    receipt: save('receipt.json', receipt),
    jwks: save('jwks.json', jwks),
    code: await packCode(narrator, folder, listed),
    vkeys: [vkey, info.log.receiptsVkey],
    contracts: [`${info.anchor.chainId}:${info.anchor.contract}`],
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** With the gateway and its chain gone: a version and a receipt verify from files, and a changed one does not. */
export async function verifyOffline(
  narrator: Narrator,
  proofs: Proofs,
  { isStopped }: { isStopped: boolean },
): Promise<void> {
  narrator.step(
    `${isStopped ? 'The gateway is stopped. ' : ''}A version and a receipt, verified offline: millicent verify`,
  );
  const [vkey = '', receiptsVkey = ''] = proofs.vkeys;
  const pins = ['--vkey', vkey, ...proofs.contracts.flatMap((one) => ['--contract', one])];
  const version = await runMillicent([
    ...['verify', proofs.bundle, '--offline', '--code', proofs.code],
    ...pins,
  ]);
  showOutput(narrator, version.output);
  mustEqual(version.code, 0, 'The exit code of millicent verify for the version');
  const receipt = await runMillicent([
    ...['verify', proofs.receipt, '--offline', '--jwks', proofs.jwks, '--vkey', receiptsVkey],
  ]);
  showOutput(narrator, receipt.output.trimEnd().split('\n').at(-1) ?? '');
  mustEqual(receipt.code, 0, 'The exit code of millicent verify for the receipt');
  const forged = join(proofs.folder, 'forged.json');
  const text = readFileSync(proofs.bundle, 'utf8');
  writeFileSync(forged, text.replace(/(sha256 )([0-9a-f]{64})/, `$1${'0'.repeat(64)}`));
  const refused = await runMillicent(['verify', forged, '--offline', ...pins]);
  showOutput(narrator, refused.output);
  mustEqual(refused.code, 1, 'The exit code of millicent verify for a bundle with another code hash');
  narrator.checked('the same bundle with another code hash does not verify');
}

async function packCode(narrator: Narrator, folder: string, { files }: Listed): Promise<string> {
  const source = join(folder, 'source');
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(source, path)), { recursive: true });
    writeFileSync(join(source, path), text);
  }
  const archive = join(folder, 'code.tar');
  const { code, output } = await runMillicent(['pack', source, '--out', archive]);
  mustEqual(code, 0, 'The exit code of millicent pack');
  narrator.fact('code', output.split('\n')[0] ?? '');
  return archive;
}

async function untilReady<T>(ask: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + ANCHOR_WAIT_MAX_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    must(Date.now() < deadline, 'what was sold and published is logged and anchored within two minutes');
    await sleep(POLL_MS);
  }
}

/** A command's answer, with long hashes cut and long lines folded; what nobody bought is left out. */
function showOutput(narrator: Narrator, output: string): void {
  const lines = output.trimEnd().split('\n');
  const shown = lines.filter((line) => line.trim() !== '' && !/: 0 sales\b|gross 0,/.test(line));
  for (const line of shown.map((one) => one.replaceAll(LONG_TEXT, '$1...'))) {
    const indent = ' '.repeat((/^ *(?:- )?/.exec(line)?.[0].length ?? 0) + 2);
    for (const [at, part] of fold(line).entries()) narrator.say(at === 0 ? `  ${part}` : indent + part);
  }
}

const LONG_TEXT = /((?:0x)?[0-9a-f]{10}|[A-Za-z0-9+/]{10})[A-Za-z0-9+/=]{26,}/g;
const LINE_CHARACTERS_MAX = 108;

function fold(line: string): string[] {
  return (line.match(new RegExp(`\\s*\\S.{0,${LINE_CHARACTERS_MAX}}(?=\\s|$)`, 'g')) ?? [line]).map(
    (part, at) => (at === 0 ? part : part.trim()),
  );
}
