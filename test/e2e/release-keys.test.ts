import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSigningTools } from '../harness/signing-tools.ts';
import { jsonBody } from './fixtures.ts';
import { bearer, expectFreeProblem, expectProblem, type Surface, startSurface } from './surface.ts';

const tools = createSigningTools();
const { ssh, gpg, minisign } = tools;
let surface: Surface;
beforeAll(async () => {
  surface = await startSurface();
});
afterAll(async () => {
  tools.remove();
  await surface?.close();
});

type KeyFields = {
  id: string;
  format: string;
  log_index: number;
  expires_at: string | null;
  revoked_at?: string;
};
type Listed = {
  ok: boolean;
  publisher_id: string;
  keys: KeyFields[];
  proof_text: string;
  proof_namespace: string;
  release_namespace: string;
};

async function listKeys(key: string): Promise<Listed> {
  const response = await surface.gateway.fetch('/v1/release-keys', { headers: bearer(key) });
  expect(response.status).toBe(200);
  return (await response.json()) as Listed;
}

const postKey = (key: string, body: unknown) =>
  surface.gateway.fetch('/v1/release-keys', jsonBody(body, bearer(key)));

test('a publisher registers, lists and revokes keys of every format, as the answers tell how', async () => {
  const { gateway } = surface;
  const key = await gateway.mint(0, ['publish']);
  const { proof_text: text, proof_namespace: namespace, keys, ...told } = await listKeys(key);
  expect([keys, told.release_namespace]).toEqual([[], `mcp-release@${new URL(gateway.url).host}`]);
  expect(text).toMatch(new RegExp(`^mcp-release-key/v1\\n.+\\n${told.publisher_id}\\n$`));
  const data = Buffer.from(text);
  const sshKey = ssh.makeKey();
  const fingerprint = gpg.makeKey();
  const minisignKey = minisign.makeKey();
  const sent = [
    { format: 'ssh', key: sshKey.publicKey, proof: ssh.sign(sshKey.path, data, { namespace }) },
    { format: 'openpgp', key: gpg.exportKey(fingerprint), proof: gpg.sign(fingerprint, data) },
    { format: 'minisign', key: minisignKey.publicKey, proof: minisign.sign(minisignKey.path, data) },
  ];
  for (const body of sent) {
    const response = await postKey(key, body);
    const answer = (await response.json()) as KeyFields;
    expect([response.status, answer]).toMatchObject([201, { format: body.format, expires_at: null }]);
    const again = await postKey(key, body);
    expect([again.status, await again.json()]).toEqual([201, answer]);
    const path = `/v1/release-keys/${encodeURIComponent(answer.id)}/revoke`;
    const revoked = await gateway.fetch(path, { method: 'POST', headers: bearer(key) });
    expect([revoked.status, await revoked.json()]).toMatchObject([
      200,
      { ok: true, id: answer.id, revoked: true, log_index: answer.log_index + 1 },
    ]);
    await expectProblem(await postKey(key, body), 409, 'conflict');
  }
  const after = await listKeys(key);
  expect(after.keys.map(({ format, revoked_at: revokedAt }) => [format, typeof revokedAt])).toEqual([
    ['minisign', 'string'],
    ['openpgp', 'string'],
    ['ssh', 'string'],
  ]);
});

test('an SSH fingerprint with a slash in it names its key, encoded or not', async () => {
  const { gateway } = surface;
  const key = await gateway.mint(0, ['publish']);
  const { proof_text: text, proof_namespace: namespace } = await listKeys(key);
  for (const spell of [encodeURIComponent, (id: string) => id]) {
    let made = ssh.makeKey();
    while (!ssh.fingerprint(made.publicKey).includes('/')) made = ssh.makeKey();
    const proof = ssh.sign(made.path, Buffer.from(text), { namespace });
    const { id } = (await (
      await postKey(key, { format: 'ssh', key: made.publicKey, proof })
    ).json()) as KeyFields;
    const path = `/v1/release-keys/${spell(id)}/revoke`;
    const revoked = await gateway.fetch(path, { method: 'POST', headers: bearer(key) });
    expect([revoked.status, await revoked.json()]).toMatchObject([200, { id }]);
  }
});

test('a key with an end says so, and one whose end is past is not taken', async () => {
  const key = await surface.gateway.mint(0, ['publish']);
  const { proof_text: text, proof_namespace: namespace } = await listKeys(key);
  const { path, publicKey } = ssh.makeKey();
  const body = { format: 'ssh', key: publicKey, proof: ssh.sign(path, Buffer.from(text), { namespace }) };
  await expectFreeProblem(
    await postKey(key, { ...body, expires_at: '2020-01-01T00:00:00Z' }),
    400,
    'malformed-request',
  );
  // A leaf holds whole seconds: the end of a key lies after the second in which it begins.
  const thisSecond = Math.floor(Date.now() / 1000) * 1000 + 999;
  await expectFreeProblem(
    await postKey(key, { ...body, expires_at: new Date(thisSecond).toISOString() }),
    400,
    'malformed-request',
  );
  const answer = await (await postKey(key, { ...body, expires_at: '2999-01-01T00:00:00+00:00' })).json();
  expect(answer).toMatchObject({ expires_at: '2999-01-01T00:00:00.000Z' });
});

test("what is malformed, not proved or somebody else's is refused, and the log does not grow", async () => {
  const { gateway } = surface;
  const [owner, thief] = await Promise.all([gateway.mint(0, ['publish']), gateway.mint(0, ['publish'])]);
  const { proof_text: text, proof_namespace: namespace } = await listKeys(owner);
  const { path, publicKey } = ssh.makeKey();
  const proof = ssh.sign(path, Buffer.from(text), { namespace });
  const good = { format: 'ssh', key: publicKey, proof };
  const malformed = [
    {},
    { ...good, format: 'x509' },
    { ...good, key: 'ssh-ed25519 AAAA' },
    { ...good, key: 'A'.repeat(90_000) },
    { ...good, proof: 'A'.repeat(20_000) },
    { ...good, proof: ssh.sign(path, Buffer.from(text), { namespace: 'git' }) },
    { ...good, proof: ssh.sign(path, Buffer.from(`${text}x`), { namespace }) },
    { ...good, more: 1 },
  ];
  for (const body of malformed) await expectFreeProblem(await postKey(owner, body), 400, 'malformed-request');
  await expectFreeProblem(await postKey(owner, { ...good, key: 'A'.repeat(200_000) }), 413, 'body-too-large');
  await expectFreeProblem(await postKey(thief, good), 400, 'malformed-request');
  expect([(await listKeys(owner)).keys, (await listKeys(thief)).keys]).toEqual([[], []]);
  const { id, log_index: index } = (await (await postKey(owner, good)).json()) as KeyFields;
  const revoke = (headers: Record<string, string>) =>
    gateway.fetch(`/v1/release-keys/${encodeURIComponent(id)}/revoke`, { method: 'POST', headers });
  await expectProblem(await revoke(bearer(thief)), 404, 'not-found');
  await expectProblem(await revoke({}), 401, 'unauthorized');
  const reader = bearer(await gateway.mint(0, ['read']));
  await expectProblem(await revoke(reader), 403, 'forbidden');
  await expectProblem(await gateway.fetch('/v1/release-keys', { headers: reader }), 403, 'forbidden');
  await expectProblem(await gateway.fetch('/v1/release-keys'), 401, 'unauthorized');
  for (const noKey of ['%00', 'a%0Ab', 'a'.repeat(300)]) {
    const answer = gateway.fetch(`/v1/release-keys/${noKey}/revoke`, {
      ...{ method: 'POST', headers: bearer(owner) },
    });
    await expectProblem(await answer, 404, 'not-found');
  }
  const revoked = await revoke(bearer(owner));
  expect(await revoked.json()).toMatchObject({ log_index: index + 1 });
});

test('a publisher registers thirty keys an hour, and revokes without a bound', async () => {
  const { gateway } = surface;
  const key = await gateway.mint(0, ['publish']);
  for (let count = 0; count < 30; count += 1) await postKey(key, { format: 'ssh', key: 'x', proof: 'x' });
  const refused = await postKey(key, { format: 'ssh', key: 'x', proof: 'x' });
  expect(refused.headers.get('retry-after')).toMatch(/^\d+$/);
  await expectFreeProblem(refused, 429, 'too-many-requests');
  const revoke = await gateway.fetch('/v1/release-keys/nothing/revoke', {
    method: 'POST',
    headers: bearer(key),
  });
  await expectProblem(revoke, 404, 'not-found');
});
