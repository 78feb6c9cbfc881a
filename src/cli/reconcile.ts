import { z } from 'zod';
import { type Command, textOf } from './command.ts';

const amount = z.string();
const reportSchema = z.object({
  reconciled: z.boolean(),
  unreachable: z.array(z.object({ rail: z.string(), reason: z.string() })),
  assets: z.array(
    z.object({
      ...{ account: z.string(), unit: z.string(), verdict: z.string(), booked: amount, float: amount },
      ...{ external: amount.nullable(), difference: amount.nullable() },
      open: z.object({ authorised: amount, settling: amount, unknown: amount }),
    }),
  ),
});
type Report = z.infer<typeof reportSchema>;

type ReconcileInput = {
  url: string;
  adminKey: string;
  adoptAs: string | undefined;
  isJson: boolean;
  print(text: string): void;
};

const TIMEOUT_MS = 60_000;

export const reconcileCommand: Command = {
  options: {
    'admin-key': { type: 'string' },
    adopt: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
  optionTexts: [
    ['--admin-key <key>', 'the admin key; when left out, the first line of standard input'],
    ['--adopt <name>', "take what differs for the operator's own doing, under this name"],
    ['--json', 'the report as JSON'],
  ],
  async run(input) {
    const { url, values, print } = input;
    return reconcile({
      ...{ url, print, isJson: values.json === true, adoptAs: textOf(input, 'adopt') },
      adminKey: textOf(input, 'admin-key') ?? (await input.readFirstLine()),
    });
  },
};

/** Asks a gateway for its reconciliation and prints it; 1 when a rail differs from the books or does not answer. */
async function reconcile(input: ReconcileInput): Promise<number> {
  const report = await fetchReport(input);
  input.print(input.isJson ? JSON.stringify(report, null, 2) : describe(report));
  return report.reconciled ? 0 : 1;
}

async function fetchReport({ url, adminKey, adoptAs }: ReconcileInput): Promise<Report> {
  const headers = { 'x-admin-key': adminKey };
  const address = `${url.replace(/\/+$/, '')}/v1/admin/reconcile`;
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const response =
    adoptAs === undefined
      ? await fetch(address, { headers, signal })
      : await fetch(`${address}/adopt`, {
          ...{ method: 'POST', signal, body: JSON.stringify({ name: adoptAs }) },
          headers: { ...headers, 'content-type': 'application/json' },
        });
  if (!response.ok) throw new Error(`${address} answered ${response.status}: ${await response.text()}`);
  return reportSchema.parse(await response.json());
}

function describe(report: Report): string {
  const lines = report.assets.flatMap((asset) => [
    `${asset.account}  ${asset.verdict}`,
    `  booked ${asset.booked}, operator's own ${asset.float}, on the rail ${asset.external ?? 'not known'}`,
    ...(asset.difference === null || asset.difference === '0' ? [] : [`  difference ${asset.difference}`]),
    ...Object.entries(asset.open)
      .filter(([, units]) => units !== '0')
      .map(([state, units]) => `  ${state} ${units}`),
  ]);
  const unreachable = report.unreachable.map(({ rail, reason }) => `${rail}: ${reason}`);
  return [...lines, ...unreachable, conclude(report)].join('\n');
}

function conclude({ reconciled, assets }: Report): string {
  if (reconciled) return 'Everything agrees.';
  const differs = assets.some(({ verdict }) => verdict === 'differs');
  return differs ? 'The books and the rails do not agree.' : 'Not every rail could be asked: ask again.';
}
