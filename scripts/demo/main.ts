import { formatDollars } from '../../src/core/money.ts';
import { createCalls } from './calls.ts';
import { createChain } from './chain.ts';
import { type Gateway, readTail, startGateway } from './gateway.ts';
import { DemoFailure } from './must.ts';
import { createNarrator, type Narrator, seconds } from './narrator.ts';
import type { Stage } from './stage.ts';
import { checkBooks } from './steps/books.ts';
import { failPaidCall } from './steps/failing-call.ts';
import { buyKey } from './steps/key.ts';
import { makeMeteredCalls, makeUnchargedCalls, sumCharges } from './steps/metered-calls.ts';
import { payPerCall } from './steps/pay-per-call.ts';
import { publishServers, signUpPublisher } from './steps/publish.ts';
import { verifyReceipts } from './steps/receipts.ts';
import { showRefusals } from './steps/refusals.ts';
import { replayPaidCall } from './steps/replay.ts';

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
  narrator.say('PostgreSQL, a test chain with test USDC, a sandbox; in a folder that is thrown away.');
  const gateway = await narrator.waiting('starting', startGateway());
  const stop = stopOnce(gateway);
  // Cut short it has failed; a gateway that was only kept up ends well.
  let exitCode = 1;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => stop().finally(() => process.exit(exitCode)));
  }
  try {
    narrator.fact('ready', `${gateway.info.url} after ${seconds(started)}`);
    await walkThrough(narrator, gateway);
    narrator.title(`Everything was as it should be, in ${seconds(started)}.`);
    exitCode = 0;
    if (options.isKept) await keep(narrator, gateway);
  } catch (cause) {
    console.error(`\nThe end of the gateway's log:\n${readTail(gateway.logPath)}`);
    throw cause;
  } finally {
    await stop();
  }
}

async function walkThrough(narrator: Narrator, { info }: Gateway): Promise<void> {
  const chain = createChain(info);
  const stage: Stage = { narrator, info, chain };
  const publisherWallet = await chain.createWallet(PUBLISHER_WALLET);
  const agent = await chain.createWallet(AGENT_WALLET);

  const publisherKey = await signUpPublisher(stage, publisherWallet);
  const listed = await publishServers(stage, publisherKey);
  const calls = createCalls(listed);

  const paid = await payPerCall(stage, agent, calls);
  await replayPaidCall(stage, agent, paid, calls);
  await failPaidCall(stage, agent, calls);

  const agentKey = await buyKey(stage, agent);
  const metered = await makeMeteredCalls(stage, agentKey, calls);
  await makeUnchargedCalls(stage, agentKey, calls);
  await showRefusals(stage, { agentKey, publisherKey, listed, calls });

  await verifyReceipts(stage, { paid, metered, listed });
  const chargedMcents = paid.answer.charged_mcents + sumCharges(metered);
  const books = await checkBooks(stage, { agentKey, publisherKey, chargedMcents });

  narrator.step('In short');
  const spent = AGENT_WALLET - (await chain.balanceOf(agent.address));
  narrator.table(
    ['', ''],
    [
      ['servers published, tools found', `${listed.length}, ${listed.flatMap(({ tools }) => tools).length}`],
      ['calls delivered and charged', `${metered.length + 1} for ${formatDollars(BigInt(chargedMcents))}`],
      [
        'the agent paid on chain',
        `${formatDollars(spent)}, of which ${formatDollars(books.agent)} is left on its key`,
      ],
      ['the publisher earned', formatDollars(books.earned)],
      ['the platform kept', formatDollars(books.fees)],
    ],
  );
}

/** Waits until somebody ends the process; a signal then stops the gateway. */
async function keep(narrator: Narrator, { info, infoPath }: Gateway): Promise<void> {
  narrator.say(`The gateway stays up at ${info.url} until you press Ctrl-C. Try:`);
  narrator.say(`  curl ${info.url}/v1/pricing`);
  narrator.say(`  curl ${info.url}/mcp`);
  narrator.say(`  curl -i -X POST ${info.url}/v1/example`);
  narrator.say(`A funded wallet and the admin key are in ${infoPath}`);
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
