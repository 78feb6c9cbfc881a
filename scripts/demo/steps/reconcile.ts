import { z } from 'zod';
import { runMillicent } from '../millicent.ts';
import { must, mustEqual } from '../must.ts';
import type { Stage } from '../stage.ts';

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
