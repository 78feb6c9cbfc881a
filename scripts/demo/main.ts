import { existsSync } from 'node:fs';
import { formatDollars } from '../../src/core/money.ts';
import { createCalls } from './calls.ts';
import { createChain } from './chain.ts';
import { type Gateway, readTail, startGateway } from './gateway.ts';
import { DemoFailure } from './must.ts';
import { createNarrator, type Narrator, seconds } from './narrator.ts';
import type { Stage } from './stage.ts';
import { checkBooks } from './steps/books.ts';
import { spendWithinBudget } from './steps/budget.ts';
import { stopAtCap } from './steps/child-key.ts';
import { listForCards, payByEveryRail, showEveryChallenge } from './steps/every-rail.ts';
import { failPaidCall } from './steps/failing-call.ts';
import { creditFailedCall, failOnEveryRail } from './steps/failing-rails.ts';
import { containHostile } from './steps/hostile.ts';
import { buyKey } from './steps/key.ts';
import { useMarketplace } from './steps/marketplace.ts';
import { callByMcp, payInsideMcp } from './steps/mcp-client.ts';
import { makeMeteredCalls, makeUnchargedCalls, sumCharges } from './steps/metered-calls.ts';
import { callOwnServer } from './steps/own-server.ts';
import { payPerCall } from './steps/pay-per-call.ts';
import { auditLogs, type Proofs, reproduceCall, saveProofs, verifyOffline } from './steps/proofs.ts';
import { publishServers, signUpPublisher } from './steps/publish.ts';
import { verifyReceipts } from './steps/receipts.ts';
import { reconcileRails } from './steps/reconcile.ts';
import { showRefusals } from './steps/refusals.ts';
import { replayPaidCall } from './steps/replay.ts';
import { uploadArchive } from './steps/uploads.ts';
import { createWallets } from './wallets.ts';

/** Test dollars on the new wallets, in millicents: $1 for the publisher, $5 for the agent. */
const PUBLISHER_WALLET = 100_000n;
const AGENT_WALLET = 500_000n;

/** The main job from nothing to a verified receipt, printed as it happens. `--keep` leaves the gateway up. */
async function main(options: { isKept: boolean }): Promise<void> {
  const started = Date.now();
  const narrator = createNarrator({
    write: (text) => process.stdout.write(text),
    isTerminal: process.stdout.isTTY === true && process.env.NO_COLOR === undefined,
  });
  narrator.title('Millicent: an agent pays per call for tools that strangers published, and can prove it');
  narrator.step('Start a gateway with everything embedded');
  narrator.say(
    'PostgreSQL, a sandbox, a test chain with test USDC, a Tempo chain, two Lightning nodes and a local Stripe;',
  );
  narrator.say('in a folder that is thrown away.');
  const gateway = await narrator.waiting('starting', startGateway());
  const stop = stopOnce(gateway);
  // Cut short it has failed; a gateway that was only kept up ends well.
  let exitCode = 1;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => stop().finally(() => process.exit(exitCode)));
  }
  try {
    narrator.fact('ready', `${gateway.info.url} after ${seconds(started)}`);
    const proofs = await walkThrough(narrator, gateway);
    try {
      if (!options.isKept) await stop();
      await verifyOffline(narrator, proofs, { isStopped: !options.isKept });
    } finally {
      proofs.remove();
    }
    narrator.title(`Everything was as it should be, in ${seconds(started)}.`);
    exitCode = 0;
    if (options.isKept) await keep(narrator, gateway);
  } catch (cause) {
    // The log goes with the gateway's folder, once that was stopped.
    if (existsSync(gateway.logPath)) {
      console.error(`\nThe end of the gateway's log:\n${readTail(gateway.logPath)}`);
    }
    throw cause;
  } finally {
    await stop();
  }
}

async function walkThrough(narrator: Narrator, { info }: Gateway): Promise<Proofs> {
  const chain = createChain(info);
  const wallets = createWallets(info);
  const stage: Stage = { narrator, info, chain };
  const lightningBefore = await wallets.lightning.balanceMsat();
  const publisherWallet = await chain.createWallet(PUBLISHER_WALLET);
  const agent = await chain.createWallet(AGENT_WALLET);

  const publisherKey = await signUpPublisher(stage, publisherWallet);
  const listed = await publishServers(stage, publisherKey);
  const calls = createCalls(listed);

  const paid = await payPerCall(stage, agent, calls);
  await replayPaidCall(stage, agent, paid, calls);
  await failPaidCall(stage, agent, calls);

  const reports = await listForCards(stage, publisherKey, listed);
  const report = calls.reportOnTable(reports);
  await showEveryChallenge(stage, report);
  const everyRail = await payByEveryRail(stage, wallets, report);
  const broken = calls.reportOnBrokenTable(reports);
  await failOnEveryRail(stage, wallets, broken);
  const refund = await creditFailedCall(stage, wallets, { broken, calls });

  const agentKey = await buyKey(stage, agent);
  const metered = await makeMeteredCalls(stage, agentKey, calls);
  await makeUnchargedCalls(stage, agentKey, calls);
  await showRefusals(stage, { agentKey, publisherKey, listed, calls });
  const byChild = await stopAtCap(stage, agentKey, calls);
  const byClient = await spendWithinBudget(stage, { agent, wallets, calls, report });

  const byMcp = [await callByMcp(stage, agentKey, calls), await payInsideMcp(stage, agent, calls)];
  const uploaded = await uploadArchive(stage, { publisherKey, agentKey, listed, calls });
  const hostile = await containHostile(stage, publisherKey, agentKey);
  const own = await callOwnServer(stage, publisherKey, agentKey);
  const bought = await useMarketplace(stage, agentKey, uploaded);

  await verifyReceipts(stage, { paid, metered, listed });
  const delivered = [
    ...[paid, ...everyRail, refund.delivered, ...metered, ...byChild, ...byClient],
    ...[...byMcp, uploaded.delivered, hostile.delivered, own.delivered, bought],
  ];
  const books = await checkBooks(stage, {
    ...{ agentKey, publisherKey, refundKey: refund.key, wallets, lightningBefore },
    chargedMcents: sumCharges(delivered),
    chargedOwnMcents: own.delivered.answer.charged_mcents,
  });
  await reconcileRails(stage);
  await auditLogs(stage, publisherKey);
  await reproduceCall(stage, paid);
  const proofs = await saveProofs(stage, { paid, listed });

  narrator.step('In short');
  const servers = [...listed, reports, ...(uploaded.isNew ? [uploaded.listed] : []), hostile.listed, own];
  narrator.table(
    ['', ''],
    [
      [
        'servers published, tools found',
        `${servers.length}, ${servers.flatMap(({ tools }) => tools).length}`,
      ],
      [
        'calls delivered and charged',
        `${delivered.length} for ${formatDollars(BigInt(sumCharges(delivered)))}`,
      ],
      [
        'paid on four rails',
        `${formatDollars(books.received)}, of which ${formatDollars(books.agent + books.refund)} is left on the agent's keys`,
      ],
      ['the publisher earned', formatDollars(books.earned)],
      ['the platform kept', formatDollars(books.fees)],
    ],
  );
  return proofs;
}

/** Waits until somebody ends the process; a signal then stops the gateway. */
async function keep(narrator: Narrator, { info, infoPath }: Gateway): Promise<void> {
  narrator.say(`The gateway stays up at ${info.url} until you press Ctrl-C. Try:`);
  narrator.say(`  curl ${info.url}/v1/pricing`);
  narrator.say(`  curl ${info.url}/mcp`);
  narrator.say(`  curl -i -X POST ${info.url}/v1/example`);
  narrator.say(`Funded wallets and the admin key are in ${infoPath}`);
  await new Promise(() => setInterval(() => {}, 60_000));
}

function stopOnce(gateway: Gateway): () => Promise<void> {
  let stopping: Promise<void> | undefined;
  return () => {
    stopping ??= gateway.stop();
    return stopping;
  };
}

main({ isKept: process.argv.includes('--keep') }).then(
  () => process.exit(0),
  (cause: unknown) => {
    console.error(`\nFAILED  ${cause instanceof Error ? cause.message : cause}`);
    // Anything but a failed expectation is a bug of the demo's own.
    if (!(cause instanceof DemoFailure)) console.error(cause);
    process.exit(1);
  },
);
