import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { must, mustEqual } from '../must.ts';
import type { Stage } from '../stage.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const TIMEOUT_MS = 60_000;

const LONG_HEX = /(0x[0-9a-f]{6})[0-9a-f]{34}/g;
const RAILS = ['evm', 'tempo', 'lightning', 'stripe'];

const reportSchema = z.looseObject({
  reconciled: z.boolean(),
  unreachable: z.array(z.unknown()),
  assets: z.array(
    z.looseObject({
      ...{
        account: z.string(),
        unit: z.string(),
        verdict: z.string(),
        booked: z.string(),
        float: z.string(),
      },
      ...{ external: z.string().nullable(), difference: z.string().nullable() },
    }),
  ),
});

/** The operator's own question, asked with the operator's own command: does every rail agree with the books? */
export async function reconcileRails({ narrator, info }: Stage): Promise<void> {
  narrator.step('The operator holds every rail beside the books: millicent reconcile');
  const { code, output } = await runMillicent(['reconcile', '--url', info.url, '--json'], info.adminKey);
  const report = reportSchema.parse(JSON.parse(output));
  narrator.table(
    ['account', 'in the books', "operator's own", 'on the rail', 'verdict'],
    report.assets.map(({ account, booked, float, external, verdict }) => [
      account.replaceAll(LONG_HEX, '$1...'),
      ...[booked, float, external ?? 'not known', verdict],
    ]),
  );
  mustEqual(report.unreachable.length, 0, 'The number of rails that did not answer');
  for (const rail of RAILS) {
    const assets = report.assets.filter(({ account }) => account.startsWith(`A.${rail}`));
    must(assets.length > 0, `${rail} is in the report`);
    for (const { account, difference } of assets)
      mustEqual(difference ?? '', '0', `The difference of ${account}`);
  }
  must(report.reconciled, 'everything agrees');
  mustEqual(code, 0, 'The exit code of millicent reconcile');
  narrator.checked('every rail agrees with the books, to its last unit');
}

/** The command as a process of its own; the admin key goes in by standard input. */
function runMillicent(args: string[], adminKey: string): Promise<{ code: number; output: string }> {
  const command = ['--import', 'tsx', join(ROOT, 'src/cli/main.ts'), ...args];
  const child = spawn(process.execPath, command, {
    cwd: ROOT,
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: TIMEOUT_MS,
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stdin.end(`${adminKey}\n`);
  return new Promise((done, fail) => {
    child.once('error', fail);
    child.once('close', (code) => done({ code: code ?? 1, output }));
  });
}
