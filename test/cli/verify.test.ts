import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifyCommand } from '../../src/cli/verify.ts';
import { writeArchive } from '../../src/core/archive.ts';
import { silentLog } from '../../src/core/log.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createScene, newSigner, ORIGIN, type Scene, versionAt } from '../provenance/bundle/fixture.ts';
import { millicent, runCommand, type Stage, startStage } from './millicent.ts';

const folder = mkdtempSync(join(tmpdir(), 'millicent-verify-'));
const file = (name: string) => join(folder, name);
let anvil: Anvil;
let scene: Scene;
let gateway: Stage;
/** What the gateway's word on its keys is. */
let vkeys: string[];

beforeAll(async () => {
  anvil = await startAnvil({ log: silentLog });
  scene = await createScene(anvil);
  vkeys = [scene.signer.vkey];
  gateway = await startStage((path) => {
    if (path === '/log/vkey') return vkeys.map((vkey) => `${vkey}\n`).join('');
    const isAsked = /^\/mcp\/acme%2Ftext-stats\/versions\/1\.0\.[45]\/bundle$/.test(path);
    return isAsked ? JSON.stringify(scene.bundle) : undefined;
  });
  writeFileSync(file('bundle.json'), JSON.stringify(scene.bundle));
  writeFileSync(file('code.tar'), versionAt(4).code);
  writeFileSync(file('other.tar'), 'other code');
  mkdirSync(file('code'));
  writeFileSync(join(file('code'), 'server.py'), 'print(1)\n');
});
afterAll(async () => {
  await gateway?.close();
  await anvil?.close();
  rmSync(folder, { recursive: true, force: true });
});

const verify = (args: readonly string[]) => runCommand(verifyCommand, args);

const FAILED = /^FAILED: \S.+\n$/;

describe('millicent verify', () => {
  test('verifies a bundle offline with its code, and says what it checked, trusted and left', async () => {
    const args = ['--offline', '--code', file('code.tar'), '--vkey', scene.signer.vkey];
    const ran = await millicent(['verify', file('bundle.json'), ...args]);
    expect(ran).toMatchObject({ code: 0, err: '' });
    expect(ran.out).toMatch(/^Checked:\n {2}- .*acme published acme\/text-stats 1\.0\.4/);
    expect(ran.out).toContain('The code at hand is the code that was published');
    expect(ran.out).toContain(`\nTrusted:\n  - The log's key, which you gave: ${scene.signer.vkey}.`);
    expect(ran.out).toContain('\nNot checked:\n');
    expect(ran.out).toMatch(/\nVERIFIED acme\/text-stats 1\.0\.4: leaf 4 of market\.example\/log\n$/);
  });

  test('asks the chain with --rpc, and fails on a chain that says otherwise', async () => {
    const contract = `${anvil.chainId}:${scene.chain.contract}`;
    const args = [file('bundle.json'), '--contract', contract];
    const ran = await verify([...args, '--rpc', anvil.rpcUrl]);
    expect(ran).toMatchObject({ code: 0, err: '' });
    expect(ran.out).toContain('The contract answers the same root and size as anchor 0');
    expect(ran.out).toContain('The contract answers the same root and size as anchor 1');
    expect(ran.out).toContain(`made for the log ${ORIGIN}`);
    const block = scene.bundle.anchor?.blockHash ?? '';
    /** A node that lies about one thing. */
    const lie = (method: string, change: (text: string) => string) =>
      startStage(async (_path, body) => {
        const response = await fetch(anvil.rpcUrl, {
          ...{ method: 'POST', body, headers: { 'content-type': 'application/json' } },
        });
        const text = await response.text();
        return JSON.parse(body).method === method ? change(text) : text;
      });
    for (const [method, change, reason] of [
      [
        'eth_getBlockByNumber',
        (text: string) => text.replaceAll(block, block.replace(/.$/, 'x')),
        /answers eth_get/,
      ],
      ['eth_getBlockByNumber', (text: string) => text.replaceAll(block, `0x${'0'.repeat(64)}`), /is not 0x/],
      ['eth_chainId', () => '{"result":"0x1"}', /node is of chain 1/],
      ['eth_getCode', () => '{"result":"0x6000"}', /other code than VersionAnchor/],
      ['eth_getTransactionReceipt', () => '{"result":null}', /knows no transaction/],
      ['eth_call', () => '{"result":"0x"}', /for another log/],
      ['eth_call', () => 'nonsense', /JSON-RPC/],
    ] as const) {
      const node = await lie(method, change);
      const failed = await verify([...args, '--rpc', node.url]);
      await node.close();
      expect(failed.code, `${method} ${failed.out}`).not.toBe(0);
      expect(failed.out + failed.err).toMatch(reason);
      expect(failed.err).not.toContain('    at ');
    }
  });

  test('fetches a version by its name, and tells whose word the key is', async () => {
    const ran = await verify(['acme/text-stats@1.0.4', '--url', gateway.url, '--json']);
    expect(ran).toMatchObject({ code: 0, err: '' });
    const verdict = JSON.parse(ran.out);
    expect(verdict).toMatchObject({ verified: true, what: expect.stringContaining('acme/text-stats 1.0.4') });
    expect(verdict.trusted[0]).toContain(`which ${gateway.url} served`);
    // Asked for one version, it hands out the bundle of another.
    const other = await verify(['acme/text-stats@1.0.5', '--url', gateway.url]);
    expect(other).toMatchObject({
      code: 1,
      out: 'FAILED: the leaf does not publish acme/text-stats 1.0.5\n',
    });
    vkeys = [newSigner(ORIGIN).vkey];
    const strange = await verify(['acme/text-stats@1.0.4', '--url', gateway.url, '--json']);
    expect(strange.code).toBe(1);
    expect(JSON.parse(strange.out)).toEqual({
      verified: false,
      reason: expect.stringContaining('not among the keys which'),
    });
    vkeys = [scene.signer.vkey];
    const absent = await verify(['acme/text-stats@9.9.9', '--url', gateway.url]);
    expect(absent).toMatchObject({
      code: 2,
      err: expect.stringContaining('404: There is no such thing here.'),
    });
  });

  test('names what it takes, and takes no receipt for the one that was asked for', async () => {
    const absent = await verify(['acme/text-stats', '--url', gateway.url]);
    expect(absent).toMatchObject({ code: 2, err: expect.stringContaining('named like acme/text-analysis@') });
    const id = '01a1fe99-652f-727f-a4f0-a0b2e2fd1cef';
    const offline = await verify([id, '--offline']);
    expect(offline).toMatchObject({ code: 2, err: expect.stringContaining(`/receipts/${id}`) });
    const liar = await startStage(() => JSON.stringify(scene.bundle));
    expect(await verify([id, '--url', liar.url])).toMatchObject({
      code: 1,
      out: 'FAILED: the gateway was asked for a receipt, and answered with a bundle\n',
    });
    await liar.close();
  });

  test('fails with a reason on other code, other pins and other bytes', async () => {
    const tampered = { ...scene.bundle, entry: scene.bundle.entry.replace('1.0.4', '1.0.5') };
    writeFileSync(file('tampered.json'), JSON.stringify(tampered));
    writeFileSync(file('cut.json'), JSON.stringify(scene.bundle).slice(0, -9));
    writeFileSync(file('huge.json'), ' '.repeat(2 * 1024 * 1024));
    writeFileSync(file('other.json'), '{"format":"something"}');
    writeFileSync(file('list.json'), '[1]');
    writeFileSync(file('packed.tar'), writeArchive(new Map([['server.py', Buffer.from('print(1)\n')]])));
    const good = file('bundle.json');
    for (const [args, reason] of [
      [[good, '--code', file('other.tar')], 'the code at hand has SHA-256'],
      [[good, '--code', file('code')], 'the code at hand has SHA-256'],
      [[good, '--vkey', newSigner(ORIGIN).vkey], 'not among the keys'],
      [[good, '--block-hash', `0x${'1'.repeat(64)}`], 'not a block that you gave'],
      [[good, '--contract', `1:${scene.chain.contract}`], 'not a contract that you gave'],
      [[good, '--witness', newSigner('w.example', 4).vkey], 'did not cosign'],
      [[file('tampered.json')], 'another version or other code'],
      [[file('cut.json')], 'not JSON'],
      [[file('huge.json')], 'longer than any bundle'],
      [[file('other.json')], 'not a bundle'],
      [[file('list.json')], 'neither a bundle'],
    ] as const) {
      const ran = await verify([...args, '--offline']);
      expect(ran, args.join(' ')).toMatchObject({ code: 1, err: '', out: expect.stringMatching(FAILED) });
      expect(ran.out).toContain(reason);
    }
  });

  test('misuse is told in a line, with exit code 2', async () => {
    for (const [args, reason] of [
      [[], 'Name one bundle'],
      [['acme/text-stats@1.0.4', '--offline'], '--offline asks nobody'],
      [['no-such-file.json'], 'There is no file'],
      [[file('code')], 'is not a file'],
      [[file('bundle.json'), '--offline', '--rpc', 'http://127.0.0.1:1'], 'exclude each other'],
      [[file('bundle.json'), '--vkey', 'nonsense'], 'is no key'],
      [[file('bundle.json'), '--contract', 'nonsense'], '<chain id>:<address>'],
      [[file('bundle.json'), '--block-hash', '0x12'], '64 hexadecimal digits'],
      [[file('bundle.json'), '--code', file('nothing')], 'no file or folder'],
      [[file('bundle.json'), '--rpc', 'http://127.0.0.1:1'], 'does not answer'],
    ] as const) {
      const ran = await verify(args);
      expect(ran, args.join(' ')).toMatchObject({ code: 2, out: '' });
      expect(ran.err).toContain(reason);
      expect(ran.err).not.toContain('    at ');
    }
  });

  test('shows what a file says on one line of its own, and lets it rule no terminal', async () => {
    const name = 'x\n\nVERIFIED acme/text-stats 1.0.4: leaf 4\u001b[2J\u009b31m\u202e';
    writeFileSync(file('spoof.json'), JSON.stringify({ ...scene.bundle, [name]: 1 }));
    const { code, out } = await millicent(['verify', file('spoof.json'), '--offline']);
    expect([code, out.trimEnd().split('\n').length]).toEqual([1, 1]);
    expect(out).toMatch(/^FAILED: it is not a bundle: .*\\nVERIFIED .*\\u001b\[2J\\u009b31m\\u202e/);
  });

  test('takes no key that cosigns for a log, no log for a witness, and no option that would check nothing', async () => {
    const args = [file('bundle.json'), '--offline'];
    const cosigner = newSigner(ORIGIN, 4).vkey;
    for (const [wrong, reason] of [
      [['--vkey', cosigner], 'cosigns, and does not sign for a log'],
      [['--witness', scene.signer.vkey], 'is not one that cosigns'],
      [['--jwks', file('bundle.json')], '--jwks checks nothing of a bundle'],
    ] as const) {
      const ran = await verify([...args, ...wrong]);
      expect(ran).toMatchObject({ code: 2, out: '', err: expect.stringContaining(reason) });
      expect(ran.err).toMatch(/^usage: /);
    }
    writeFileSync(file('receipt.json'), JSON.stringify({ ok: true, jws: 'x.y.z', receipt: {} }));
    for (const option of ['code', 'rpc', 'contract', 'block-hash']) {
      const ran = await verify([file('receipt.json'), `--${option}`, 'x']);
      expect(ran.err).toContain(`--${option} checks nothing of a receipt`);
      expect(ran.code).toBe(2);
    }
  });
});
