import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../..');
const TIMEOUT_MS = 300_000;

function runDemo(env: NodeJS.ProcessEnv): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'scripts/demo/main.ts'], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PORT: '0', ...env },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk));
  return new Promise((done) => child.once('close', (code) => done({ code, stdout, stderr })));
}

test('the demo runs from a signup over every rail, MCP and hostile code to agreeing books, and ends with 0', {
  timeout: TIMEOUT_MS,
}, async () => {
  const { code, stdout, stderr } = await runDemo({});
  expect(stderr).toBe('');
  for (const line of [
    '402, paid $0.10 in test USDC by @x402/fetch, 200',
    'inkwell/document-diff',
    'the price, the charge and both balances on chain agree',
    'one payment bought one execution of one request',
    'Line 212 has 11 values',
    'no charge applied',
    '7 ways to pay, all of one price; MPP and L402 share one Lightning invoice',
    'agent paid          505 sat',
    'the gateway received the price, to the last unit of the token',
    'Stripe captured the price, to the cent',
    'the invoice was paid and the money came back, to the millisatoshi: 499999495000 msat',
    'was authorised and then cancelled: the card was charged nothing',
    'the credit pays for other calls',
    '300 delivered in',
    'the balance fell by exactly the sum of the charges',
    "2 calls for $0.005 left the agent's balance, and not one more",
    'the same receipt, and nothing spent',
    'both were refused before anything was signed; no wallet was touched',
    'the same tool, price, charge and receipt as over HTTP',
    'paid, delivered and receipted within two messages of MCP',
    'the same files as JSON are the same publication',
    'found 0 of 3 secret files',
    '504 The server did not answer within 3000 ms.',
    'three attacks contained and free',
    'around the gateway  401 There is no token.',
    "src/sdk/server verified the token by the gateway's public key",
    'found, bought and verified against log entry',
    'code hash: recomputed from the uploaded files',
    'the same receipt with another price does not verify',
    'each proven by the signed batch it was charged in',
    "the split is 80 to 20, and 95 to 5 for the publisher's own server, to the millicent",
    'what reached the four rails is what the ledger owes and earned',
    'every rail agrees with the books, to its last unit',
    'no sale is missing, and the log holds what was signed',
    'the logged code gives the result that was sold, to the byte',
    'VERIFIED inkwell/document-diff 1.0.0',
    'VERIFIED receipt',
    'the same bundle with another code hash does not verify',
    'Everything was as it should be',
  ]) {
    expect(stdout).toContain(line);
  }
  expect(code).toBe(0);
});

test('the demo fails loudly when it cannot start', { timeout: TIMEOUT_MS }, async () => {
  const { code, stderr } = await runDemo({ PORT: 'not-a-port' });
  expect(stderr).toContain('FAILED  The gateway ended before it served');
  expect(stderr).toContain('PORT must be a whole number');
  expect(code).toBe(1);
});
